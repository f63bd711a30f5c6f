//! Integration tests of the Lambda service, in one binary.

mod data_plane;
