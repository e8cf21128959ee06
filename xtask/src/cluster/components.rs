//! The components of a cluster in the order of their start: what each is called with, and what must answer before the next.

use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::config::CONTAINERD;
use super::place::Place;
use super::{NODE, Options, images, network, simulated};

const ETCD: &str = "http://127.0.0.1:2379";

/// One step of the start.
#[derive(Debug, Clone)]
pub enum Step {
    /// Starts a component and goes on.
    Start(Component),
    /// Waits until something answers, or a component ends.
    Wait(&'static str, Answer),
}

/// A process that runs as long as the cluster.
#[derive(Debug, Clone)]
pub struct Component {
    /// Its name, and that of its log.
    pub name: &'static str,
    /// Its program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
}

/// What shows that something answers.
#[derive(Debug, Clone)]
pub enum Answer {
    /// A connection to this address.
    Tcp(SocketAddr),
    /// A connection to this socket.
    Unix(PathBuf),
    /// A command that ends well.
    Command(Vec<String>),
}

impl Answer {
    /// Whether it answers now.
    pub fn is_there(&self) -> bool {
        match self {
            Self::Tcp(address) => TcpStream::connect_timeout(address, Duration::from_secs(1)).is_ok(),
            Self::Unix(path) => UnixStream::connect(path).is_ok(),
            Self::Command(words) => {
                let mut command = Command::new(&words[0]);
                command.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
                command.status().is_ok_and(|status| status.success())
            }
        }
    }
}

/// All steps. Images go in while the API server starts.
pub fn steps(place: &Place, options: &Options) -> Vec<Step> {
    let start = |name, args| Step::Start(Component { name, program: place.program(name), args });
    let kubectl = place.program("kubectl").display().to_string();
    let admin = format!("--kubeconfig={}", place.path("etc/inside.kubeconfig").display());
    let ready = [kubectl, admin, "get".into(), "--raw=/readyz".into()].into();
    let mut steps = vec![start("etcd", etcd())];
    if !options.api_only {
        steps.push(start("containerd", vec!["--config".into(), file(place, "etc/containerd.toml")]));
    }
    steps.push(Step::Wait("etcd", Answer::Tcp(([127, 0, 0, 1], 2379).into())));
    steps.push(start("kube-apiserver", api_server(place, options)));
    if !options.api_only {
        steps.push(Step::Wait("containerd", Answer::Unix(CONTAINERD.into())));
        for image in images::own(place) {
            steps.push(Step::Wait("an image", Answer::Command(images::import(place, &image.display().to_string()))));
        }
    }
    steps.push(Step::Wait("kube-apiserver", Answer::Command(ready)));
    if !options.api_only {
        steps.push(start("kube-controller-manager", controller_manager(place, options)));
        steps.push(start("kube-scheduler", scheduler(place, options)));
        steps.push(start("kubelet", kubelet(place, options)));
        steps.push(start("kube-proxy", proxy(place)));
        if 0 < options.nodes {
            steps.push(start("kwok", simulated::args(place)));
        }
        steps.push(start("coredns", vec!["-conf".into(), file(place, "etc/Corefile")]));
    }
    steps
}

fn file(place: &Place, below: &str) -> String {
    place.path(below).display().to_string()
}

fn kubeconfig(place: &Place, name: &str) -> String {
    format!("--kubeconfig={}", file(place, &format!("etc/{name}.kubeconfig")))
}

fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|word| (*word).to_owned()).collect()
}

/// Nothing of it need outlive the machine, so it does not wait for the disk.
fn etcd() -> Vec<String> {
    let peer = "http://127.0.0.1:2380";
    let mut args = words(&["--data-dir=/var/lib/etcd", "--unsafe-no-fsync"]);
    args.extend(["listen-client", "advertise-client"].map(|which| format!("--{which}-urls={ETCD}")));
    args.extend(["listen-peer", "initial-advertise-peer"].map(|which| format!("--{which}-urls={peer}")));
    args.push(format!("--initial-cluster=default={peer}"));
    args
}

fn api_server(place: &Place, options: &Options) -> Vec<String> {
    let pki = file(place, "certificates");
    let mut args = vec![
        format!("--etcd-servers={ETCD}"),
        format!("--secure-port={}", network::API_PORT),
        format!("--advertise-address={}", network::NODE),
        format!("--service-cluster-ip-range={}", network::SERVICES),
    ];
    args.extend(words(&[
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        "--kubelet-preferred-address-types=InternalIP",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-username-headers=X-Remote-User",
        "--enable-aggregator-routing=true",
        "--profiling=false",
    ]));
    let files = [
        ("client-ca-file", "ca.crt"),
        ("tls-cert-file", "apiserver.crt"),
        ("tls-private-key-file", "apiserver.key"),
        ("kubelet-client-certificate", "apiserver-kubelet-client.crt"),
        ("kubelet-client-key", "apiserver-kubelet-client.key"),
        ("kubelet-certificate-authority", "ca.crt"),
        ("service-account-key-file", "service-accounts.pub"),
        ("service-account-signing-key-file", "service-accounts.key"),
        ("requestheader-client-ca-file", "front-proxy-ca.crt"),
        ("proxy-client-cert-file", "front-proxy-client.crt"),
        ("proxy-client-key-file", "front-proxy-client.key"),
    ];
    args.extend(files.map(|(flag, name)| format!("--{flag}={pki}/{name}")));
    args.extend(gates(options));
    args
}

fn controller_manager(place: &Place, options: &Options) -> Vec<String> {
    let pki = file(place, "certificates");
    let mut args = vec![
        kubeconfig(place, "controller-manager"),
        format!("--service-account-private-key-file={pki}/service-accounts.key"),
        format!("--root-ca-file={pki}/ca.crt"),
        format!("--cluster-signing-cert-file={pki}/ca.crt"),
        format!("--cluster-signing-key-file={pki}/ca.key"),
        format!("--cluster-cidr={}", network::ALL_PODS),
        format!("--service-cluster-ip-range={}", network::SERVICES),
    ];
    args.extend(words(&[
        "--bind-address=127.0.0.1",
        "--leader-elect=false",
        "--use-service-account-credentials",
        "--allocate-node-cidrs=true",
    ]));
    args.extend(gates(options));
    args
}

fn scheduler(place: &Place, options: &Options) -> Vec<String> {
    let mut args = vec![kubeconfig(place, "scheduler")];
    args.extend(words(&["--bind-address=127.0.0.1", "--leader-elect=false"]));
    args.extend(gates(options));
    args
}

fn kubelet(place: &Place, options: &Options) -> Vec<String> {
    let mut args = vec![
        format!("--config={}", file(place, "etc/kubelet.yaml")),
        kubeconfig(place, "kubelet"),
        format!("--hostname-override={NODE}"),
        format!("--node-ip={}", network::NODE),
    ];
    args.extend(options.kubelet_args.iter().cloned());
    args
}

/// Limits of connection tracking are the machine's, which kube-proxy leaves alone when they are 0.
fn proxy(place: &Place) -> Vec<String> {
    let mut args = vec![
        kubeconfig(place, "proxy"),
        format!("--hostname-override={NODE}"),
        format!("--cluster-cidr={}", network::ALL_PODS),
        format!("--bind-address={}", network::NODE),
    ];
    args.extend(words(&[
        "--proxy-mode=iptables",
        "--healthz-bind-address=127.0.0.1:10256",
        "--metrics-bind-address=127.0.0.1:10249",
        "--oom-score-adj=0",
        "--conntrack-max-per-core=0",
        "--conntrack-tcp-timeout-established=0",
        "--conntrack-tcp-timeout-close-wait=0",
    ]));
    args
}

fn gates(options: &Options) -> Option<String> {
    (!options.feature_gates.is_empty()).then(|| format!("--feature-gates={}", options.feature_gates.join(",")))
}

/// The variables of whoever works inside, and of the components.
pub fn environment(place: &Place) -> Vec<(&'static str, String)> {
    let bin = place.path("bin");
    let system = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let outer = std::env::var("PATH").unwrap_or_else(|_| system.to_owned());
    vec![
        ("PATH", format!("{}:{outer}:{system}", bin.display())),
        ("KUBECONFIG", file(place, "etc/inside.kubeconfig")),
        ("CONTAINERD_ADDRESS", CONTAINERD.to_owned()),
        ("CONTAINERD_NAMESPACE", "k8s.io".to_owned()),
        ("CONTAINER_RUNTIME_ENDPOINT", format!("unix://{CONTAINERD}")),
        ("KUBECACHEDIR", Path::new("/run/kubectl").display().to_string()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::tests::options;

    fn names(words: &[&str]) -> Vec<&'static str> {
        let place = Place { cache: "/c".into(), name: "a".into() };
        let steps = steps(&place, &options(words));
        steps.iter().filter_map(|step| if let Step::Start(one) = step { Some(one.name) } else { None }).collect()
    }

    #[test]
    fn the_api_alone_is_etcd_and_its_server() {
        assert_eq!(names(&["--api-only"]), ["etcd", "kube-apiserver"]);
        assert!(names(&[]).contains(&"kubelet") && !names(&[]).contains(&"kwok"));
        assert!(names(&["--nodes", "3"]).contains(&"kwok"));
    }

    #[test]
    fn what_a_kubelet_is_told_besides_comes_last() {
        let place = Place { cache: "/c".into(), name: "a".into() };
        let args = kubelet(&place, &options(&["--kubelet-arg", "--v=4"]));
        assert_eq!(args.last().map(String::as_str), Some("--v=4"));
    }

    #[test]
    fn a_socket_that_nobody_has_made_does_not_answer() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        assert!(!Answer::Unix(path.clone()).is_there());
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert!(Answer::Unix(path).is_there());
        assert!(!Answer::Command(vec!["false".into()]).is_there());
    }
}
