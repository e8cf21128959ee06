//! What a pod's volumes and variables may refer to.

use std::collections::BTreeMap;
use std::path::PathBuf;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use outrigger_pod_core::env::Sources;
use serde::{Deserialize, Serialize};

/// What lies beside a pod, of its own namespace.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Beside {
    /// The `ConfigMaps`.
    pub config_maps: Vec<ConfigMap>,
    /// The Secrets.
    pub secrets: Vec<Secret>,
    /// The service account's token.
    pub token: Option<ByteString>,
    /// Trust bundles by name.
    pub trust_bundles: BTreeMap<String, ByteString>,
    /// Directories by the claim's name.
    pub claim_directories: BTreeMap<String, PathBuf>,
}

impl Beside {
    /// As `pod-core` wants it.
    pub fn sources(&self) -> Sources {
        let name = |name: &Option<String>| name.clone().unwrap_or_default();
        Sources {
            config_maps: self.config_maps.iter().map(|map| (name(&map.metadata.name), map.clone())).collect(),
            secrets: self.secrets.iter().map(|secret| (name(&secret.metadata.name), secret.clone())).collect(),
            token: self.token.as_ref().map(|token| token.0.clone()),
            trust_bundles: self.trust_bundles.iter().map(|(name, text)| (name.clone(), text.0.clone())).collect(),
        }
    }
}
