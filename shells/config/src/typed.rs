//! A checked value to a typed configuration, with the path of what a type itself refuses.
//!
//! The schema is checked before, so what fails here is a type's own reading of a text (`serde(try_from)` and the
//! like). This deserializer is our own for two reasons: it knows the path, and no text of another library comes out.

use std::cell::RefCell;
use std::fmt::{self, Display};

use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, Unexpected, Visitor};
use serde_json::{Map, Value};

use crate::path::Path;

/// What a type refused, and where.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) path: Path,
    pub(crate) message: String,
}

/// Reads `value` as a `T`.
pub(crate) fn read<T: DeserializeOwned>(value: &Value) -> Result<T, Refused> {
    let deepest = RefCell::new(None);
    let top = Located { value, path: Path::default(), deepest: &deepest };
    T::deserialize(top).map_err(|error| {
        let path = deepest.borrow_mut().take().unwrap_or_default();
        Refused { path, message: error.0 }
    })
}

/// A value that knows its path and where to note the deepest path that failed.
struct Located<'a> {
    value: &'a Value,
    path: Path,
    deepest: &'a RefCell<Option<Path>>,
}

impl<'a> Located<'a> {
    fn below(&self, value: &'a Value, path: Path) -> Self {
        Self { value, path, deepest: self.deepest }
    }

    /// Runs one step; the first to fail is the deepest, since errors come back up.
    fn note<T>(deepest: &RefCell<Option<Path>>, path: &Path, result: Result<T, Error>) -> Result<T, Error> {
        if result.is_err() {
            deepest.borrow_mut().get_or_insert_with(|| path.clone());
        }
        result
    }
}

/// Our words for what serde reports.
#[derive(Debug)]
struct Error(String);

impl Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

impl de::Error for Error {
    fn custom<T: Display>(message: T) -> Self {
        Self(message.to_string())
    }

    fn invalid_type(_: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self(format!("expected {expected}"))
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self(format!("expected {expected}"))
    }

    fn invalid_length(count: usize, expected: &dyn de::Expected) -> Self {
        Self(format!("expected {expected}, found {count}"))
    }

    fn unknown_variant(word: &str, known: &'static [&'static str]) -> Self {
        Self(format!("{word:?} is none of {}", known.join(", ")))
    }

    fn unknown_field(key: &str, _: &'static [&'static str]) -> Self {
        Self(format!("the key {key:?} is unknown"))
    }

    fn missing_field(key: &'static str) -> Self {
        Self(format!("the key {key:?} is missing"))
    }

    fn duplicate_field(key: &'static str) -> Self {
        Self(format!("the key {key:?} stands here twice"))
    }
}

impl<'de> Deserializer<'de> for Located<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let (deepest, path) = (self.deepest, self.path.clone());
        let result = match self.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(on) => visitor.visit_bool(*on),
            Value::Number(number) => match (number.as_u64(), number.as_i64()) {
                (Some(number), _) => visitor.visit_u64(number),
                (None, Some(number)) => visitor.visit_i64(number),
                (None, None) => visitor.visit_f64(number.as_f64().unwrap_or(f64::NAN)),
            },
            Value::String(text) => visitor.visit_str(text),
            Value::Array(values) => visitor.visit_seq(Items { at: &self, values, next: 0 }),
            Value::Object(map) => visitor.visit_map(Entries { at: &self, rest: map.iter(), value: None }),
        };
        Self::note(deepest, &path, result)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.value.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        let (deepest, path) = (self.deepest, self.path.clone());
        let result = visitor.visit_newtype_struct(self);
        Self::note(deepest, &path, result)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let (deepest, path) = (self.deepest, self.path.clone());
        let result = match self.value {
            Value::String(word) => visitor.visit_enum(Variant { word, content: None }),
            Value::Object(map) => match only_entry(map) {
                Some((word, value)) => {
                    let content = Some(self.below(value, self.path.key(word)));
                    visitor.visit_enum(Variant { word, content })
                }
                None => Err(Error("expected a map with one key".to_owned())),
            },
            _ => Err(Error("expected a word, or a map with one key".to_owned())),
        };
        Self::note(deepest, &path, result)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier ignored_any
    }
}

fn only_entry(map: &Map<String, Value>) -> Option<(&String, &Value)> {
    map.iter().next().filter(|_| map.len() == 1)
}

struct Items<'a> {
    at: &'a Located<'a>,
    values: &'a [Value],
    next: usize,
}

impl<'de> de::SeqAccess<'de> for Items<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        let Some(value) = self.values.get(self.next) else { return Ok(None) };
        let path = self.at.path.index(self.next);
        self.next += 1;
        let result = seed.deserialize(self.at.below(value, path.clone()));
        Located::note(self.at.deepest, &path, result).map(Some)
    }
}

struct Entries<'a> {
    at: &'a Located<'a>,
    rest: serde_json::map::Iter<'a>,
    value: Option<(&'a String, &'a Value)>,
}

impl<'de> de::MapAccess<'de> for Entries<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        self.value = self.rest.next();
        let Some((key, _)) = self.value else { return Ok(None) };
        let name: StrDeserializer<'_, Error> = key.as_str().into_deserializer();
        Located::note(self.at.deepest, &self.at.path.key(key), seed.deserialize(name)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let (key, value) = self.value.take().expect("serde asks for a value after its key");
        let path = self.at.path.key(key);
        let result = seed.deserialize(self.at.below(value, path.clone()));
        Located::note(self.at.deepest, &path, result)
    }
}

/// A variant by its word, with what stands under it.
struct Variant<'a> {
    word: &'a str,
    content: Option<Located<'a>>,
}

impl<'de, 'a> de::EnumAccess<'de> for Variant<'a> {
    type Error = Error;
    type Variant = Content<'a>;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Content<'a>), Error> {
        let word: StrDeserializer<'_, Error> = self.word.into_deserializer();
        Ok((seed.deserialize(word)?, Content(self.content)))
    }
}

struct Content<'a>(Option<Located<'a>>);

impl Content<'_> {
    fn missing<T>() -> Result<T, Error> {
        Err(Error("this word takes a value; write it as a map with one key".to_owned()))
    }
}

impl<'de> de::VariantAccess<'de> for Content<'_> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        match self.0 {
            Some(content) if !content.value.is_null() => Err(Error("this word takes no value".to_owned())),
            _ => Ok(()),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Error> {
        self.0.map_or_else(Self::missing, |content| seed.deserialize(content))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.0.map_or_else(Self::missing, |content| content.deserialize_any(visitor))
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, Error> {
        self.0.map_or_else(Self::missing, |content| content.deserialize_any(visitor))
    }
}
