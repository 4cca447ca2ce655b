//! The formats that a workflow's assignments are exported in.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::ExportFormat;

/// A set of formats in their one order, JSON always among them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<ExportFormat>")]
pub struct ExportFormats(BTreeSet<ExportFormat>);

impl ExportFormats {
    pub fn iter(&self) -> impl Iterator<Item = ExportFormat> {
        self.0.iter().copied()
    }

    /// As the database has them.
    pub fn names(&self) -> Vec<String> {
        self.iter().map(|format| format.as_str().to_owned()).collect()
    }
}

impl Default for ExportFormats {
    fn default() -> Self {
        Vec::new().into()
    }
}

impl From<Vec<ExportFormat>> for ExportFormats {
    fn from(named: Vec<ExportFormat>) -> Self {
        Self(named.into_iter().chain([ExportFormat::Json]).collect())
    }
}

// Lets a `text[]` column be read with `column as "column: ExportFormats"`.
impl sqlx::Type<sqlx::Postgres> for ExportFormats {
    fn type_info() -> sqlx::postgres::PgTypeInfo {
        <Vec<String> as sqlx::Type<sqlx::Postgres>>::type_info()
    }

    fn compatible(ty: &sqlx::postgres::PgTypeInfo) -> bool {
        <Vec<String> as sqlx::Type<sqlx::Postgres>>::compatible(ty)
    }
}

impl sqlx::Decode<'_, sqlx::Postgres> for ExportFormats {
    fn decode(value: sqlx::postgres::PgValueRef<'_>) -> Result<Self, sqlx::error::BoxDynError> {
        let names = <Vec<String> as sqlx::Decode<sqlx::Postgres>>::decode(value)?;
        let named: Result<Vec<ExportFormat>, _> = names.iter().map(|name| name.parse()).collect();
        Ok(named?.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_always_among_them_and_each_is_named_once() {
        let read = |text| serde_json::from_str::<ExportFormats>(text).unwrap().names();
        assert_eq!(read("[]"), ["json"]);
        assert_eq!(read(r#"["yolo", "csv", "yolo"]"#), ["json", "csv", "yolo"]);
        assert!(serde_json::from_str::<ExportFormats>(r#"["xml"]"#).is_err());
    }
}
