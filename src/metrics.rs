//! Every metric: name, unit, help.
