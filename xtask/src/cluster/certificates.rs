//! The certificates of a cluster, made anew for each by `openssl`: keys on the curve P-256, good for ten years.
//!
//! What they are not: anybody else's. They are for a cluster that lives hours, and lie where only root reads.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::cache::run_quietly;

/// What a component shows to others.
struct Certificate {
    /// The name of its files.
    name: &'static str,
    /// Whose signature it has.
    authority: &'static str,
    /// Whom it names, as `openssl` writes it.
    subject: &'static str,
    /// The addresses it answers for; a certificate without is a client's.
    answers_for: &'static [&'static str],
}

const AUTHORITIES: &[&str] = &["ca", "front-proxy-ca"];

const fn client(name: &'static str, subject: &'static str) -> Certificate {
    Certificate { name, authority: "ca", subject, answers_for: &[] }
}

const CERTIFICATES: &[Certificate] = &[
    Certificate {
        answers_for: &[
            "DNS:localhost",
            "DNS:kubernetes",
            "DNS:kubernetes.default",
            "DNS:kubernetes.default.svc",
            "DNS:kubernetes.default.svc.cluster.local",
            "IP:127.0.0.1",
            "IP:10.244.0.1",
            "IP:10.96.0.1",
        ],
        ..client("apiserver", "/CN=kube-apiserver")
    },
    Certificate {
        answers_for: &["DNS:node-1", "DNS:localhost", "IP:10.244.0.1", "IP:127.0.0.1"],
        ..client("kubelet-server", "/CN=node-1")
    },
    Certificate { authority: "front-proxy-ca", ..client("front-proxy-client", "/CN=front-proxy-client") },
    client("apiserver-kubelet-client", "/O=system:masters/CN=kube-apiserver-kubelet-client"),
    client("kubelet", "/O=system:nodes/CN=system:node:node-1"),
    client("admin", "/O=system:masters/CN=admin"),
    client("controller-manager", "/CN=system:kube-controller-manager"),
    client("scheduler", "/CN=system:kube-scheduler"),
    client("proxy", "/CN=system:kube-proxy"),
];

/// Makes all of them, and the key that signs the tokens of service accounts.
pub fn make(directory: &Path) -> Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    for name in AUTHORITIES {
        let extensions = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,digitalSignature,keyCertSign,cRLSign\n";
        openssl(directory, &["-keyout", &key(name), "-out", &file(name), "-subj", &format!("/CN={name}")], extensions)?;
    }
    for Certificate { name, authority, subject, answers_for } in CERTIFICATES {
        let signer = ["-CA", &file(authority), "-CAkey", &key(authority)];
        let own = ["-keyout", &key(name), "-out", &file(name), "-subj", subject];
        openssl(directory, &[own.as_slice(), &signer].concat(), &extensions(answers_for))?;
    }
    let curve = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
    let (own, public) = (key("service-accounts"), "service-accounts.pub");
    run_quietly(Command::new("openssl").arg("genpkey").args(curve).args(["-out", &own]).current_dir(directory))?;
    run_quietly(Command::new("openssl").args(["pkey", "-in", &own, "-pubout", "-out", public]).current_dir(directory))
}

fn file(name: &str) -> String {
    format!("{name}.crt")
}

fn key(name: &str) -> String {
    format!("{name}.key")
}

fn extensions(answers_for: &[&str]) -> String {
    let usage = if answers_for.is_empty() { "clientAuth" } else { "serverAuth" };
    let names =
        if answers_for.is_empty() { String::new() } else { format!("subjectAltName={}\n", answers_for.join(",")) };
    format!("basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage={usage}\n{names}")
}

/// Makes a key and its certificate. The configuration comes from here alone: the system's would add extensions of its own.
fn openssl(directory: &Path, args: &[&str], extensions: &str) -> Result<()> {
    let mut command = Command::new("openssl");
    command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3650"]);
    command.args(["-config", "/dev/stdin"]).args(args).current_dir(directory);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut openssl = command.spawn().context("cannot start openssl")?;
    if let Some(mut input) = openssl.stdin.take() {
        write!(input, "[req]\ndistinguished_name=name\nx509_extensions=ours\n[name]\n[ours]\n{extensions}")?;
    }
    let output = openssl.wait_with_output()?;
    if !output.status.success() {
        bail!("openssl made no certificate ({}): {}", args.join(" "), String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::network;

    #[test]
    fn a_certificate_names_the_node_s_address() {
        let server = CERTIFICATES.iter().find(|one| one.name == "apiserver").unwrap();
        assert!(server.answers_for.contains(&&*format!("IP:{}", network::NODE)));
        assert!(extensions(server.answers_for).contains("serverAuth"));
        assert!(!extensions(&[]).contains("subjectAltName"));
    }

    #[test]
    fn openssl_makes_them_and_they_verify() {
        let directory = tempfile::tempdir().unwrap();
        make(directory.path()).unwrap();
        for Certificate { name, authority, .. } in CERTIFICATES {
            let mut verify = Command::new("openssl");
            verify.args(["verify", "-CAfile", &file(authority), &file(name)]).current_dir(directory.path());
            run_quietly(&mut verify).unwrap();
        }
    }
}
