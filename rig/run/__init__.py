"""One trial through its phases, and a campaign of trials over the boards."""
