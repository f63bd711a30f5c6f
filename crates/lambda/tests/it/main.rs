//! Integration tests of the Lambda service, in one binary: the control plane over raw wire bytes with a data plane that
//! answers from a script, and the data plane with real sandboxes.

#[cfg(test)]
mod data_plane;
#[cfg(test)]
mod functions;
#[cfg(test)]
mod invoke;
#[cfg(test)]
mod listing;
#[cfg(test)]
mod stage;
#[cfg(test)]
mod urls;
