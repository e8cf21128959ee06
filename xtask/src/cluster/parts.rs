//! What a cluster is made of: Go modules, their versions, and how each is built.
//!
//! A newer version is a changed line here; what is built of it lies beside what was built of the old one.

use crate::go::Module;

/// The Kubernetes that a cluster runs unless told otherwise.
pub const KUBERNETES: &str = "1.36.3";

/// A patch of each older minor version, for those who name only the minor: the newest that the module proxy has whole. Of some
/// later ones it lacks staging modules or their sums, and they cannot be built from it.
pub const OLDER: &[&str] = &["1.35.4", "1.34.3", "1.33.4", "1.32.5"];

/// The oldest Kubernetes that the end-to-end tests have passed on (decision 12).
pub const OLDEST: &str = OLDER[0];

/// What an API server alone needs.
pub fn api(kubernetes: &str) -> Vec<Module> {
    vec![self::kubernetes(kubernetes, NODE), etcd()]
}

/// What a cluster runs.
pub fn cluster(kubernetes: &str) -> Vec<Module> {
    let mut modules = api(kubernetes);
    modules.extend([containerd(), runc(), cni(), coredns()]);
    modules
}

/// What people and tests use beside it.
pub fn tools() -> Vec<Module> {
    vec![helm(), kubeconform(), prometheus_operator(), kwok()]
}

/// Kubernetes' sample device plugin: a peer of tests and benchmarks.
pub fn sample_device_plugin() -> Module {
    kubernetes(KUBERNETES, &["sample-device-plugin"])
}

const NODE: &[&str] =
    &["kube-apiserver", "kubectl", "kubelet", "kube-controller-manager", "kube-scheduler", "kube-proxy"];

/// Programs of Kubernetes by the names of their packages: those in `cmd`, and those for tests in `test/images`.
pub fn kubernetes(version: &str, programs: &[&'static str]) -> Module {
    let minor = version.split('.').nth(1).unwrap_or_default();
    let told = [
        ("gitVersion", format!("v{version}")),
        ("gitMajor", "1".to_owned()),
        ("gitMinor", minor.to_owned()),
        ("gitTreeState", "clean".to_owned()),
        ("gitCommit", "0".repeat(40)),
        ("buildDate", "2026-01-01T00:00:00Z".to_owned()),
    ];
    let values = ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"]
        .iter()
        .flat_map(|package| told.iter().map(move |(name, value)| (format!("{package}.{name}"), value.clone())));
    Module {
        is_staged: true,
        values: values.collect(),
        programs: programs.iter().map(|name| (*name, format!("k8s.io/kubernetes/{}/{name}", folder(name)))).collect(),
        ..module("k8s", "k8s.io/kubernetes", version)
    }
}

/// The folder of Kubernetes' tree that a program's package lies in.
fn folder(program: &str) -> &'static str {
    if program.starts_with("kube") { "cmd" } else { "test/images" }
}

fn etcd() -> Module {
    Module {
        beside: &["go.etcd.io/etcd/etcdctl/v3"],
        programs: vec![("etcd", "go.etcd.io/etcd/server/v3".into()), ("etcdctl", "go.etcd.io/etcd/etcdctl/v3".into())],
        ..module("etcd", "go.etcd.io/etcd/server/v3", "3.6.16")
    }
}

fn containerd() -> Module {
    let own = module("containerd", "github.com/containerd/containerd/v2", "2.3.7");
    Module {
        tags: "no_btrfs no_zfs no_devmapper no_aufs",
        values: vec![version_variable(&own, "version.Version", "v")],
        programs: ["containerd", "containerd-shim-runc-v2", "ctr"]
            .iter()
            .map(|name| (*name, format!("{}/cmd/{name}", own.path)))
            .collect(),
        ..own
    }
}

fn runc() -> Module {
    let own = module("runc", "github.com/opencontainers/runc", "1.4.3");
    Module {
        tags: "seccomp urfave_cli_no_docs",
        values: vec![("main.version".into(), own.version.clone())],
        uses_c: true,
        programs: vec![("runc", own.path.into())],
        ..own
    }
}

fn cni() -> Module {
    let own = module("cni", "github.com/containernetworking/plugins", "1.9.1");
    let plugins = [("bridge", "main"), ("loopback", "main"), ("host-local", "ipam"), ("portmap", "meta")].into_iter();
    Module {
        programs: plugins.map(|(name, kind)| (name, format!("{}/plugins/{kind}/{name}", own.path))).collect(),
        ..own
    }
}

fn coredns() -> Module {
    alone(module("coredns", "github.com/coredns/coredns", "1.14.7"), "")
}

/// Helm, which renders the chart.
pub fn helm() -> Module {
    let own = module("helm", "helm.sh/helm/v3", "3.22.0");
    alone(Module { values: vec![version_variable(&own, "internal/version.version", "v")], ..own }, "/cmd/helm")
}

/// What looks at manifests without a cluster.
pub fn kubeconform() -> Module {
    alone(module("kubeconform", "github.com/yannh/kubeconform", "0.8.0"), "/cmd/kubeconform")
}

/// Of the Prometheus operator only what tells an API server of the kinds that the chart uses.
pub fn prometheus_operator() -> Module {
    Module {
        files: &[("podmonitors.yaml", "example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml")],
        ..module("prometheus-operator", "github.com/prometheus-operator/prometheus-operator", "0.85.0")
    }
}

/// Simulated nodes.
pub fn kwok() -> Module {
    alone(module("kwok", "sigs.k8s.io/kwok", "0.8.0"), "/cmd/kwok")
}

/// With one program of the module's own name, made by the package in `folder`.
fn alone(module: Module, folder: &str) -> Module {
    Module { programs: vec![(module.name, format!("{}{folder}", module.path))], ..module }
}

/// Tells a program its version.
fn version_variable(module: &Module, variable: &str, prefix: &str) -> (String, String) {
    (format!("{}/{variable}", module.path), format!("{prefix}{}", module.version))
}

fn module(name: &'static str, path: &'static str, version: &str) -> Module {
    Module {
        name,
        path,
        version: version.to_owned(),
        beside: &[],
        is_staged: false,
        tags: "",
        values: Vec::new(),
        uses_c: false,
        programs: Vec::new(),
        files: &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_of_kubernetes_know_their_version() {
        let module = kubernetes("1.34.2", &["kubelet", "sample-device-plugin"]);
        let packages: Vec<&str> = module.programs.iter().map(|(_, package)| package.as_str()).collect();
        assert_eq!(packages, ["k8s.io/kubernetes/cmd/kubelet", "k8s.io/kubernetes/test/images/sample-device-plugin"]);
        assert!(module.values.contains(&("k8s.io/component-base/version.gitMinor".into(), "34".into())));
        assert!(module.values.contains(&("k8s.io/client-go/pkg/version.gitVersion".into(), "v1.34.2".into())));
    }

    #[test]
    fn older_versions_are_those_before_the_usual_one() {
        let minor = |version: &str| version.split('.').nth(1).unwrap().parse::<u32>().unwrap();
        let newest = minor(KUBERNETES);
        assert!(OLDER.iter().zip(1..).all(|(version, behind)| minor(version) + behind == newest));
    }

    #[test]
    fn every_module_brings_something_and_programs_from_packages_of_its_own() {
        for module in cluster(KUBERNETES).iter().chain(&tools()) {
            assert!(!module.programs.is_empty() || !module.files.is_empty(), "{}", module.name);
            for (name, package) in &module.programs {
                let owners = std::iter::once(&module.path).chain(module.beside);
                assert!(owners.into_iter().any(|path| package.starts_with(path)), "{name}: {package}");
            }
        }
    }
}
