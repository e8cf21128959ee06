//! Pods that share the machine's network: a port that another pod declared is taken, and can be refused before anything
//! starts.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::PodSpec;

/// A declared port: number and protocol.
pub type Port = (i32, String);

/// Who declared which port.
#[derive(Clone, Debug, Default)]
pub struct Ports(BTreeMap<Port, String>);

impl Ports {
    /// Notes the ports of a pod; answers those that another pod declared before, and which.
    pub fn declare(&mut self, pod: &str, spec: &PodSpec) -> Vec<(Port, String)> {
        let mut taken = Vec::new();
        for port in declared(spec) {
            match self.0.get(&port) {
                Some(other) if other != pod => taken.push((port, other.clone())),
                _ => {
                    self.0.insert(port, pod.to_owned());
                }
            }
        }
        taken
    }
}

/// The ports of a pod, each once: its containers may name the same.
pub fn declared(spec: &PodSpec) -> BTreeSet<Port> {
    let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
    let ports = containers.flat_map(|container| container.ports.iter().flatten());
    ports.map(|port| (port.container_port, port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(ports: &[(i32, &str)]) -> PodSpec {
        let ports: Vec<_> =
            ports.iter().map(|(number, protocol)| json!({"containerPort": number, "protocol": protocol})).collect();
        serde_json::from_value(json!({"containers": [{"name": "a", "ports": ports}, {"name": "b", "ports": ports}]}))
            .unwrap()
    }

    #[test]
    fn a_port_of_another_pod_is_taken_and_ones_own_is_not() {
        let mut ports = Ports::default();
        assert!(ports.declare("web", &pod(&[(80, "TCP"), (53, "UDP")])).is_empty());
        assert!(ports.declare("web", &pod(&[(80, "TCP")])).is_empty());
        let taken = ports.declare("other", &pod(&[(80, "TCP"), (80, "UDP"), (53, "TCP")]));
        assert_eq!(taken, [((80, "TCP".to_owned()), "web".to_owned())]);
    }
}
