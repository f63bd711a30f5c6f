//! The decision engine against a naive evaluator, against a corpus that a foreign oracle judges too, and against rubbish.

mod case;
mod corpus;
mod documents;
mod messages;
mod naive;
mod random;
