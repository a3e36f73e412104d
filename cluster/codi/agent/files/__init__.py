"""Files of the workspace: reading, saving, moving, removing, restoring."""
