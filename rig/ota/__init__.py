"""Update protocols spoken over one GattLink.  They yield progress, record nothing, and know no boards and no faults."""
