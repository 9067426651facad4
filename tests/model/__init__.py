"""An independent model of jobq, the machine and the driver that hold the service against it, step by step."""
