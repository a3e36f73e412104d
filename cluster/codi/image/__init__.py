"""CODI's modules in one file: packed as the stage is made, imported from as CODI starts."""
