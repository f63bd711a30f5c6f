//! JSON that keeps what policies must not have: the same member twice.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::limits::DEPTH;

/// A JSON value. Numbers keep their shortest text, as policies compare them as text.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Json {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    /// Reads `text`; `None` for anything that is not JSON, repeats a member or nests deeper than [`DEPTH`].
    pub(super) fn parse(text: &str) -> Option<Json> {
        let mut source = serde_json::Deserializer::from_str(text);
        let value = Seed { depth: DEPTH }.deserialize(&mut source).ok()?;
        source.end().ok()?;
        Some(value)
    }
}

/// Deserializes one value that may hold `depth` further levels.
struct Seed {
    depth: usize,
}

impl Seed {
    fn below<E: Error>(&self) -> Result<Seed, E> {
        self.depth.checked_sub(1).map(|depth| Seed { depth }).ok_or_else(|| E::custom("too deep"))
    }
}

impl<'de> DeserializeSeed<'de> for Seed {
    type Value = Json;
    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<Json, D::Error> {
        source.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed {
    type Value = Json;

    fn expecting(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.write_str("JSON without repeated members")
    }

    fn visit_unit<E: Error>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Number(value.to_string()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Number(value.to_string()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Json, E> {
        Ok(Json::Number(value.to_string()))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Json, E> {
        Ok(Json::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut source: A) -> Result<Json, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = source.next_element_seed(self.below()?)? {
            items.push(item);
        }
        Ok(Json::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut source: A) -> Result<Json, A::Error> {
        let mut members: Vec<(String, Json)> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        while let Some(name) = source.next_key::<String>()? {
            if !seen.insert(name.clone()) {
                return Err(A::Error::custom("repeated member"));
            }
            members.push((name, source.next_value_seed(self.below()?)?));
        }
        Ok(Json::Object(members))
    }
}
