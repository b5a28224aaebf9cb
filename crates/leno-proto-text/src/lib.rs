//! YAML and JSON to protobuf and back, by reflection.
