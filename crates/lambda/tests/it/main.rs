//! Integration tests of the Lambda service, in one binary: the control plane over raw wire bytes with a data plane that
//! answers from a script, and the data plane with real sandboxes.

#[cfg(test)]
mod aliases;
#[cfg(test)]
mod capacity;
mod code_signing;
#[cfg(test)]
mod concurrency;
#[cfg(test)]
mod data_plane;
#[cfg(test)]
mod event_invoke_config;
#[cfg(test)]
mod functions;
#[cfg(test)]
mod images;
#[cfg(test)]
mod invoke;
#[cfg(test)]
mod layers;
#[cfg(test)]
mod listing;
#[cfg(test)]
mod permissions;
#[cfg(test)]
mod rights;
#[cfg(test)]
mod settings;
#[cfg(test)]
mod snap_start;
#[cfg(test)]
mod stage;
#[cfg(test)]
mod tenancy;
#[cfg(test)]
mod urls;
#[cfg(test)]
mod versions;
