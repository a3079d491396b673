"""The kernel behind one interface: live, recorded, or being recorded."""
