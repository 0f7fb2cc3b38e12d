"""BlueZ as its clients meet it, for tests: `bus` is a D-Bus of their own, `daemon` a bluetoothd on it whose radio is real to the last bit.

The objects, methods, properties and error texts are those of BlueZ 5.7x and 5.8x (``doc/org.bluez.*.rst``, ``src/device.c``,
``src/gatt-client.c``, ``src/error.c``, ``src/agent.c``, ``src/shared/att.c``); none of it has been compared with a bluetoothd that runs.
"""
