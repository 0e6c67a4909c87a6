//! MQTT topic names and filters: validation and matching (MQTT5-4.7). Part of `model`.
