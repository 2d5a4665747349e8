//! Stored bytes and how to read them: a payload, an output.

use std::{
    cell::RefCell,
    fmt,
    sync::{Arc, LazyLock},
};

use serde::{Serialize, de::DeserializeOwned};

/// Bytes as they are stored, with the number of the codec that wrote them.
///
/// Codec 0 is JSON text in UTF-8; other numbers are kept free for compression and encryption.
#[derive(Clone, PartialEq, Eq)]
pub struct Body {
    /// How the bytes are to be read: 0 = JSON text.
    pub codec: u16,
    /// The bytes.
    pub bytes: Arc<[u8]>,
}

thread_local! {
    /// Where JSON is written, again and again, so that only the bytes that are kept are allocated.
    static DRAFT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}
/// Room that a draft keeps.
const DRAFT_MAX: usize = 64 << 10;

/// What most handlers return, and many are given.
const NOTHING: &[u8] = b"null";
static NULL: LazyLock<Arc<[u8]>> = LazyLock::new(|| NOTHING.into());

impl Body {
    /// The codec number of plain JSON text.
    pub const JSON: u16 = 0;

    /// Encodes a value as JSON.
    ///
    /// # Errors
    /// When the value's `Serialize` fails, for example on a map whose keys are no strings.
    pub fn json(value: &impl Serialize) -> Result<Self, serde_json::Error> {
        let bytes = DRAFT.with(|draft| match draft.try_borrow_mut() {
            Ok(mut draft) => {
                draft.clear();
                serde_json::to_writer(&mut *draft, value)?;
                let bytes = if *draft == NOTHING { NULL.clone() } else { draft[..].into() };
                draft.clear();
                draft.shrink_to(DRAFT_MAX);
                Ok(bytes)
            }
            // A value whose `Serialize` makes a body itself.
            Err(_) => serde_json::to_vec(value).map(Into::into),
        });
        Ok(Self { codec: Self::JSON, bytes: bytes? })
    }

    /// Reads the value back.
    ///
    /// # Errors
    /// [`BodyError`] names the place inside the value that could not be read.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, BodyError> {
        if self.codec != Self::JSON {
            return Err(BodyError::Codec(self.codec));
        }
        // The common case without the bookkeeping; the path is only wanted when something is wrong.
        match serde_json::from_slice(&self.bytes) {
            Ok(value) => Ok(value),
            Err(plain) => {
                let mut json = serde_json::Deserializer::from_slice(&self.bytes);
                match serde_path_to_error::deserialize::<_, T>(&mut json) {
                    Ok(_) => Err(BodyError::Shape { path: ".".into(), source: plain }),
                    Err(error) => Err(BodyError::Shape {
                        path: error.path().to_string(),
                        source: error.into_inner(),
                    }),
                }
            }
        }
    }

    /// The bytes as text, if they are UTF-8, as JSON always is.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.bytes).ok()
    }

    /// How many bytes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// True if there are no bytes at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.as_str() {
            Some(text) if self.codec == Self::JSON => write!(f, "Body({text})"),
            _ => write!(f, "Body(codec {}, {} bytes)", self.codec, self.bytes.len()),
        }
    }
}

/// Why stored bytes could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BodyError {
    /// Written by a codec that this program does not have.
    #[error("written with codec {0}, which this program does not know")]
    Codec(u16),
    /// Not the shape that was asked for.
    #[error("at `{path}`: {source}")]
    Shape {
        /// Where inside the value, as serde names it: `.` is the value itself, `items[2].price` a part.
        path: String,
        /// What serde said.
        source: serde_json::Error,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_cannot_be_read_names_the_place() {
        let body =
            Body::json(&serde_json::json!({"items": [{"price": 1}, {"price": "x"}]})).unwrap();
        #[derive(Debug, serde::Deserialize)]
        struct Item {
            #[serde(rename = "price")]
            _price: u32,
        }
        #[derive(Debug, serde::Deserialize)]
        struct Order {
            #[serde(rename = "items")]
            _items: Vec<Item>,
        }
        let error = body.read::<Order>().unwrap_err().to_string();
        assert!(error.starts_with("at `items[1].price`: invalid type"), "{error}");
    }

    #[test]
    fn a_body_may_be_made_while_one_is_made_and_after_one_that_failed() {
        struct Outer;
        impl Serialize for Outer {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                let inner = Body::json(&[1, 2]).map_err(serde::ser::Error::custom)?;
                ("outer", inner.as_str()).serialize(to)
            }
        }
        let json = |value: Body| value.as_str().unwrap().to_owned();
        assert_eq!(json(Body::json(&Outer).unwrap()), r#"["outer","[1,2]"]"#);
        let half_written = (1, std::collections::BTreeMap::from([((), 1)]));
        assert!(Body::json(&half_written).is_err());
        for _ in 0..2 {
            assert_eq!(json(Body::json(&()).unwrap()), "null");
            assert_eq!(json(Body::json(&"x".repeat(100_000)).unwrap()).len(), 100_002);
        }
    }

    #[test]
    fn an_unknown_codec_is_refused() {
        let body = Body { codec: 7, bytes: b"{}".as_slice().into() };
        assert!(matches!(body.read::<serde_json::Value>(), Err(BodyError::Codec(7))));
    }
}
