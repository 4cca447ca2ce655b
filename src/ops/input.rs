//! A change is laid over what is there, and the whole is checked.

use std::marker::PhantomData;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{RefOr, Schema},
};

use super::{Error, Result, parse};
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
        let changed = self.over(current)?;
        changed.check().map_err(Error::Invalid)?;
        Ok(changed)
    }

    /// [`Self::onto`] without the check, for fields whose rules ask for more than the fields.
    pub fn over(self, current: &impl Serialize) -> Result<T> {
        let Value::Object(mut fields) = json(current)? else {
            return Err(anyhow::anyhow!("a resource is not an object").into());
        };
        let given: Vec<String> = self.given.keys().cloned().collect();
        fields.extend(self.given);
        let changed: T = parse::value(Value::Object(fields))?;
        let known = json(&changed)?;
        if !given.iter().any(|field| known.get(field).is_some()) {
            return Err(Error::Refused("the body must hold at least one field to change".into()));
        }
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
