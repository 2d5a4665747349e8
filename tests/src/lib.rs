//! Tests of evertask.
