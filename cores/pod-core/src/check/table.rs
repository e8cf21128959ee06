//! The shapes of the documents that can be run: v1 Pod, `ConfigMap`, Secret, `List`, batch/v1 Job, as of Kubernetes 1.36.
//!
//! A test compares them with the `OpenAPI` document that the typed objects were made from, so that no field is forgotten.
//! When Kubernetes gains a field: add it here, as `Refused` unless something carries it out.

pub(crate) mod container;
pub(crate) mod pod;
pub(crate) mod volume;
pub(crate) mod workload;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use k8s_openapi::api::batch::v1::Job;
    use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
    use schemars::JsonSchema;
    use schemars::generate::SchemaSettings;
    use serde_json::{Map, Value};

    use super::super::shape::{Kind, Shape};
    use super::workload;

    /// Texts that Kubernetes requires, but accepts empty and so also missing.
    const MAY_BE_MISSING: [&str; 3] = ["HTTPHeader.value", "Sysctl.value", "LocalObjectReference.name"];

    struct Comparison {
        schemas: Map<String, Value>,
        done: BTreeSet<String>,
        differences: Vec<String>,
    }

    fn differences<T: JsonSchema>(shape: &Shape) -> Vec<String> {
        let mut generator = SchemaSettings::openapi3().into_generator();
        generator.subschema_for::<T>();
        let schemas = generator.take_definitions(true);
        let root = T::schema_name().into_owned();
        let mut comparison = Comparison { schemas, done: BTreeSet::new(), differences: Vec::new() };
        comparison.object(&root, shape);
        comparison.differences
    }

    impl Comparison {
        fn object(&mut self, name: &str, shape: &Shape) {
            if !self.done.insert(name.to_owned()) {
                return;
            }
            let schema = self.schemas.get(name).unwrap_or_else(|| panic!("no schema {name}")).clone();
            let short = name.rsplit('.').next().unwrap();
            let known: BTreeSet<&str> = shape.fields.iter().map(|field| field.name).collect();
            let fields = schema["properties"].as_object().unwrap();
            for field in known.iter().filter(|field| !fields.contains_key(**field)) {
                self.differences.push(format!("{short} has no field {field}"));
            }
            let required = schema["required"].as_array().map(Vec::as_slice).unwrap_or_default();
            for (key, schema) in fields {
                let Some(field) = shape.fields.iter().find(|field| field.name == key) else {
                    self.differences.push(format!("{short}.{key} is forgotten"));
                    continue;
                };
                let place = format!("{short}.{key}");
                let is_required = required.contains(&Value::from(key.as_str()));
                if is_required && !field.required && !MAY_BE_MISSING.contains(&place.as_str()) {
                    self.differences.push(format!("{place} is required"));
                }
                self.kind(&place, schema, &field.kind);
            }
        }

        fn kind(&mut self, place: &str, schema: &Value, kind: &Kind) {
            let target = schema["$ref"].as_str().or_else(|| schema["allOf"][0]["$ref"].as_str());
            let target = target.and_then(|target| target.rsplit('/').next());
            let short = target.and_then(|target| target.rsplit('.').next());
            let format = schema["format"].as_str();
            let fits = match (kind, short, schema["type"].as_str()) {
                (Kind::Unread | Kind::Refused(_), _, _)
                | (Kind::Amount, Some("Quantity"), _)
                | (Kind::NumberOrText, Some("IntOrString"), _)
                | (Kind::Flag, None, Some("boolean")) => true,
                (Kind::Bytes, None, Some("string")) => format == Some("byte"),
                (Kind::Text | Kind::SecretText | Kind::OneOf(_), None, Some("string")) => format.is_none(),
                (Kind::Number32, None, Some("integer")) => format == Some("int32"),
                (Kind::Number64, None, Some("integer")) => format == Some("int64"),
                (Kind::List(item), None, Some("array")) => return self.kind(place, &schema["items"], item),
                (Kind::Map(item), None, Some("object")) => {
                    return self.kind(place, &schema["additionalProperties"], item);
                }
                (Kind::Object(shape), Some(_), _) => return self.object(target.unwrap(), shape),
                _ => false,
            };
            if !fits {
                self.differences.push(format!("{place} is {kind:?} here, but {schema}"));
            }
        }
    }

    #[test]
    fn the_table_knows_every_field_that_kubernetes_has() {
        for (name, found) in [
            ("Pod", differences::<Pod>(&workload::POD)),
            ("Job", differences::<Job>(&workload::JOB)),
            ("ConfigMap", differences::<ConfigMap>(&workload::CONFIG_MAP)),
            ("Secret", differences::<Secret>(&workload::SECRET)),
        ] {
            assert_eq!(found, [""; 0], "{name}");
        }
    }
}
