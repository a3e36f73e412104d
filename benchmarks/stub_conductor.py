"""The conductor of a server whose containers are stubs: nobody asks a CODI that is not there."""

from __future__ import annotations

from coditect.cli.conductor import main
from tests.fakes.ray_wiring import StubWiring

if __name__ == "__main__":
    main(StubWiring)
