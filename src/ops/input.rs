//! Reading what a caller sent: a misfit is told by its path, and a change is laid over what is there.

use std::marker::PhantomData;

use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{RefOr, Schema},
};

use super::{Error, Result};
use crate::domain::fields::{
    AnnotatorFields, Fields, GoldTaskFields, LabelingConfigFields, RoleFields, UserFields, WorkflowFields,
};

/// Some fields of a `T`; the others stay as they are, and null empties one that may be empty.
#[derive(Debug, Clone)]
pub struct Partial<T> {
    given: Map<String, Value>,
    whole: PhantomData<T>,
}

pub type AnnotatorChanges = Partial<AnnotatorFields>;
pub type GoldTaskChanges = Partial<GoldTaskFields>;
pub type LabelingConfigChanges = Partial<LabelingConfigFields>;
pub type RoleChanges = Partial<RoleFields>;
pub type UserChanges = Partial<UserFields>;
pub type WorkflowChanges = Partial<WorkflowFields>;

impl<T: Fields> Partial<T> {
    /// The fields of `current` (any serialized resource that holds `T`'s) with these laid over them, checked.
    pub fn onto(self, current: &impl Serialize) -> Result<T> {
        let Value::Object(mut fields) = json(current)? else {
            return Err(anyhow::anyhow!("a resource is not an object").into());
        };
        let given: Vec<String> = self.given.keys().cloned().collect();
        fields.extend(self.given);
        let changed: T = serde_path_to_error::deserialize(Value::Object(fields)).map_err(misfit)?;
        let known = json(&changed)?;
        if !given.iter().any(|field| known.get(field).is_some()) {
            return Err(Error::Refused("the body must hold at least one field to change".into()));
        }
        changed.check().map_err(Error::Invalid)?;
        Ok(changed)
    }
}

fn json(value: &impl Serialize) -> Result<Value> {
    serde_json::to_value(value).map_err(|error| Error::Internal(error.into()))
}

impl<'de, T> Deserialize<'de> for Partial<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self { given: Map::deserialize(deserializer)?, whole: PhantomData })
    }
}

/// `T`'s schema with nothing required and no defaults.
impl<T: PartialSchema> PartialSchema for Partial<T> {
    fn schema() -> RefOr<Schema> {
        let mut schema = T::schema();
        if let RefOr::T(Schema::Object(object)) = &mut schema {
            object.required.clear();
            for property in object.properties.values_mut() {
                if let RefOr::T(Schema::Object(property)) = property {
                    property.default = None;
                }
            }
        }
        schema
    }
}

impl<T: ToSchema> ToSchema for Partial<T> {
    fn name() -> std::borrow::Cow<'static, str> {
        T::name().replace("Input", "Changes").into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        T::schemas(schemas);
    }
}

/// Reads `bytes` as JSON; what does not fit is named by its path.
pub fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json)
        .map_err(|error| if error.inner().is_data() { misfit(error) } else { malformed(error.inner()) })?;
    json.end().map_err(|error| malformed(&error))?;
    Ok(value)
}

/// Reads a query string or a form.
pub fn parse_urlencoded<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    let pairs = url::form_urlencoded::parse(bytes);
    serde_path_to_error::deserialize(serde_urlencoded::Deserializer::new(pairs)).map_err(misfit)
}

fn malformed(error: &serde_json::Error) -> Error {
    Error::Refused(format!("the body is not well-formed JSON: {error}"))
}

fn misfit<E: std::error::Error>(error: serde_path_to_error::Error<E>) -> Error {
    let message = error.inner().to_string();
    // serde_json's place in the text adds nothing to the path.
    let message = message.split(" at line ").next().unwrap_or_default();
    let path = match error.path().to_string() {
        root if root == "." => String::new(),
        path => path,
    };
    // serde puts a missing field's error on what should contain it.
    match message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
        Some(field) if path.is_empty() => Error::invalid(field, "is required"),
        Some(field) => Error::invalid(format!("{path}.{field}"), "is required"),
        None => Error::invalid(path, message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only read into")]
    struct Outer {
        inner: Vec<Inner>,
        limit: Option<i64>,
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only read into")]
    struct Inner {
        name: String,
    }

    fn issue(json: &str) -> (String, String) {
        match parse_json::<Outer>(json.as_bytes()).unwrap_err() {
            Error::Invalid(issues) => (issues[0].path.clone(), issues[0].message.clone()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_field_is_named_by_its_path() {
        assert_eq!(issue("{}"), ("inner".into(), "is required".into()));
        assert_eq!(issue(r#"{"inner":[{}]}"#), ("inner[0].name".into(), "is required".into()));
        let (path, message) = issue(r#"{"inner":[{"name":"a"},{"name":7}]}"#);
        assert_eq!(path, "inner[1].name");
        assert_eq!(message, "invalid type: integer `7`, expected a string");
    }

    #[test]
    fn malformed_json_is_told_apart() {
        for text in ["{", "", "{\"inner\":[]} x"] {
            assert!(matches!(parse_json::<Outer>(text.as_bytes()), Err(Error::Refused(_))), "{text}");
        }
    }

    #[test]
    fn a_query_names_its_field_too() {
        #[derive(Debug, Deserialize)]
        #[expect(dead_code, reason = "only read into")]
        struct Filter {
            limit: Option<i64>,
        }
        let error = parse_urlencoded::<Filter>(b"limit=ten").unwrap_err();
        assert!(matches!(error, Error::Invalid(issues) if issues[0].path == "limit"));
    }
}
