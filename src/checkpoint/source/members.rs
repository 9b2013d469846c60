//! The members of a JSON object, each name once: what a parser of maps does not notice.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, Visitor};

use super::bounds::Names;
use super::printable::shown;

/// A member's value, and how many axes it describes.
pub(super) trait Member<'de>: Deserialize<'de> {
    /// Axes to keep.
    fn rank(&self) -> usize;
}

impl Member<'_> for String {
    fn rank(&self) -> usize {
        0
    }
}

/// Members by name; or, of an object with more than any checkpoint needs, of what there is too
/// much.
pub(super) struct Members<V>(pub(super) Result<BTreeMap<String, V>, &'static str>);

impl<'de, V: Member<'de>> Deserialize<'de> for Members<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Once<V>(PhantomData<V>);

        impl<'de, V: Member<'de>> Visitor<'de> for Once<V> {
            type Value = Members<V>;

            fn expecting(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
                text.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut names = Names::default();
                let mut members = BTreeMap::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name == METADATA {
                        map.next_value::<IgnoredAny>()?;
                        continue;
                    }
                    let value: V = map.next_value()?;
                    if let Err(what) = names.take(name.len(), value.rank()) {
                        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                        return Ok(Members(Err(what)));
                    }
                    match members.entry(name) {
                        Entry::Vacant(vacant) => vacant.insert(value),
                        Entry::Occupied(known) => {
                            let name = shown(known.key());
                            return Err(A::Error::custom(format_args!("{name} is there twice")));
                        }
                    };
                }
                Ok(Members(Ok(members)))
            }
        }

        deserializer.deserialize_map(Once(PhantomData))
    }
}

/// What a safetensors header says beside its tensors.
const METADATA: &str = "__metadata__";
