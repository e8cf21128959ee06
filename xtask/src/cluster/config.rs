//! Files that components read: kubeconfigs, and the configuration of kubelet, containerd, CNI and DNS. As JSON where YAML is
//! wanted, which it is.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::place::Place;
use super::{Options, Policy, network};

/// The image that holds a pod's namespaces.
pub const PAUSE: &str = "localhost/pause:1";

/// Where containerd answers inside.
pub const CONTAINERD: &str = "/run/containerd/containerd.sock";

/// Everyone with a kubeconfig: the file's name, the certificate's, the user's.
const USERS: &[(&str, &str, &str)] = &[
    ("inside", "admin", "admin"),
    ("kubelet", "kubelet", "system:node:node-1"),
    ("controller-manager", "controller-manager", "system:kube-controller-manager"),
    ("scheduler", "scheduler", "system:kube-scheduler"),
    ("proxy", "proxy", "system:kube-proxy"),
];

/// Writes all of them.
pub fn write(place: &Place, options: &Options) -> Result<()> {
    let etc = place.path("etc");
    fs::create_dir_all(etc.join("cni")).with_context(|| format!("cannot make {}", etc.display()))?;
    for (name, certificate, user) in USERS {
        let text = kubeconfig(&place.path("certificates"), certificate, user, network::API_PORT).to_string();
        place.write(&format!("etc/{name}.kubeconfig"), &text)?;
    }
    place.write("etc/kubelet.yaml", &format!("{:#}\n", kubelet(place, options)?))?;
    place.write("etc/containerd.toml", &containerd(place, options))?;
    place.write("etc/cni/10-pods.conflist", &format!("{:#}\n", cni()))?;
    place.write("etc/Corefile", &corefile(&etc))?;
    place.write("etc/resolv.conf", "")
}

/// For whoever reaches the API server at this port of loopback.
pub fn kubeconfig(certificates: &Path, certificate: &str, user: &str, port: u16) -> Value {
    let file = |name: String| certificates.join(name).display().to_string();
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "outrigger", "cluster": {
            "server": format!("https://127.0.0.1:{port}"),
            "certificate-authority": file("ca.crt".into()),
        }}],
        "users": [{"name": user, "user": {
            "client-certificate": file(format!("{certificate}.crt")),
            "client-key": file(format!("{certificate}.key")),
        }}],
        "contexts": [{"name": "outrigger", "context": {"cluster": "outrigger", "user": user}}],
        "current-context": "outrigger",
    })
}

/// The kubelet's. What is not the default, and why:
///
/// - `failCgroupV1`: from 1.35 on a kubelet refuses cgroup v1 otherwise; those from 1.31 on know the key.
/// - `oomScoreAdj`: a value below zero needs `CAP_SYS_RESOURCE`.
/// - `imageGCHighThresholdPercent`, `evictionHard`: an image that was thrown away could not be pulled again.
/// - `makeIPTablesUtilChains`: no rules that nobody asked for.
fn kubelet(place: &Place, options: &Options) -> Result<Value> {
    let file = |name: &str| place.path("certificates").join(name).display().to_string();
    let mut config = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": false,
        "oomScoreAdj": 0,
        "address": network::NODE,
        "healthzBindAddress": "127.0.0.1",
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": file("ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": file("kubelet-server.crt"),
        "tlsPrivateKeyFile": file("kubelet-server.key"),
        "containerRuntimeEndpoint": format!("unix://{CONTAINERD}"),
        "clusterDNS": [network::NODE],
        "clusterDomain": "cluster.local",
        "resolvConf": place.path("etc/resolv.conf"),
        "failSwapOn": false,
        "makeIPTablesUtilChains": false,
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {
            "memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%", "nodefs.inodesFree": "1%",
        },
        "volumePluginDir": "/var/lib/kubelet/volume-plugins",
        "nodeStatusUpdateFrequency": "4s",
        "featureGates": gates(options)?,
    });
    if options.policy == Policy::Static {
        config["cpuManagerPolicy"] = json!("static");
        config["kubeReserved"] = json!({"cpu": "500m"});
    }
    Ok(config)
}

/// `NAME=true` and `NAME=false` as a map.
fn gates(options: &Options) -> Result<Value> {
    let pairs = options.feature_gates.iter().map(|gate| {
        let (name, value) = gate.split_once('=').with_context(|| format!("the feature gate {gate} has no value"))?;
        let value: bool =
            value.parse().with_context(|| format!("the feature gate {gate} is neither true nor false"))?;
        Ok((name.to_owned(), json!(value)))
    });
    Ok(Value::Object(pairs.collect::<Result<_>>()?))
}

/// containerd's. Without `restrict_oom_score_adj` no sandbox starts where `CAP_SYS_RESOURCE` is missing; the paths of `opt` and
/// NRI would lie in the machine's `/opt` and `/etc`.
fn containerd(place: &Place, options: &Options) -> String {
    let (bin, cni) = (place.path("bin"), place.path("etc/cni"));
    format!(
        r#"version = 3
disabled_plugins = ["io.containerd.snapshotter.v1.blockfile", "io.containerd.snapshotter.v1.erofs", "io.containerd.tracing.processor.v1.otlp"]
[grpc]
  address = "{CONTAINERD}"
[plugins.'io.containerd.internal.v1.opt']
  path = "/var/lib/containerd/opt"
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = "{PAUSE}"
[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ["{bin}"]
    conf_dir = "{cni}"
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
      BinaryName = "{runc}"
      SystemdCgroup = false
[plugins.'io.containerd.nri.v1.nri']
  disable = {no_nri}
  socket_path = "/var/run/nri/nri.sock"
  plugin_path = "/var/lib/nri/plugins"
  plugin_config_path = "/var/lib/nri/conf.d"
"#,
        bin = bin.display(),
        cni = cni.display(),
        runc = place.program("runc").display(),
        no_nri = !options.has_nri(),
    )
}

fn cni() -> Value {
    json!({"cniVersion": "1.0.0", "name": "pods", "plugins": [
        {
            "type": "bridge", "bridge": network::BRIDGE, "isGateway": true, "ipMasq": false, "hairpinMode": true,
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": network::PODS, "gateway": network::NODE}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        },
        {"type": "portmap", "capabilities": {"portMappings": true}, "snat": true},
    ]})
}

/// DNS for pods: services and pods of this cluster, and nothing beyond.
fn corefile(etc: &Path) -> String {
    format!(
        ".:53 {{\n  bind {}\n  errors\n  kubernetes cluster.local in-addr.arpa ip6.arpa {{\n    kubeconfig {}\n    pods insecure\n  \
           }}\n  cache 5\n}}\n",
        network::NODE,
        etc.join("inside.kubeconfig").display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::NODE;
    use crate::cluster::tests::options;

    fn place() -> Place {
        Place { cache: "/c".into(), name: "a".into() }
    }

    #[test]
    fn users_of_certificates_are_those_of_this_node() {
        assert!(USERS.iter().any(|(_, _, user)| *user == format!("system:node:{NODE}")));
    }

    #[test]
    fn gates_and_the_policy_reach_the_kubelet() {
        let config = kubelet(&place(), &options(&["--feature-gate", "A=true,B=false", "--policy", "static"])).unwrap();
        assert_eq!(config["featureGates"], json!({"A": true, "B": false}));
        assert_eq!(config["cpuManagerPolicy"], json!("static"));
        let wrong = kubelet(&place(), &options(&["--feature-gate", "A=on"])).unwrap_err();
        assert_eq!(wrong.to_string(), "the feature gate A=on is neither true nor false");
    }

    #[test]
    fn nri_can_be_off() {
        assert!(containerd(&place(), &options(&[])).contains("disable = false\n  socket_path"));
        assert!(containerd(&place(), &options(&["--nri", "off"])).contains("disable = true\n  socket_path"));
    }
}
