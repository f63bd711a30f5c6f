//! The Lambda service over raw wire bytes: memory engine, manual clock, a data plane that answers from a script.

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
