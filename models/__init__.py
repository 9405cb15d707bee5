"""The shared core of device and hub: contract, features, detectors, bundles. Pure: no sockets, no database, no clock."""
