"""What more sites need: unit costs as measured, machines that follow from them, and queues simulated with them."""
