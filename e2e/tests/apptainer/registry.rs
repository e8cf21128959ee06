//! Images of a registry: a smallest one answers on loopback, as the OCI distribution specification says.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::pod;
use crate::sid::{Sid, USER};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// What is served: by path, a content type and the bytes.
type Served = HashMap<String, (String, Vec<u8>)>;

/// An image of one layer, with an entry point, a command and a variable, and with what else its configuration says.
fn image(sid: &Sid, more: &Value) -> Served {
    let tar = sid.path("layer.tar");
    let mut pack = Command::new("tar");
    pack.args(["--exclude=./.singularity.d", "-cf"]).arg(&tar).arg("-C").arg(sid.tree()).arg(".");
    assert!(pack.status().unwrap().success());
    let layer = fs::read(&tar).unwrap();
    let layer_digest = digest(&tar);
    let mut config = json!({
        "architecture": "amd64", "os": "linux",
        "config": {"Env": ["PATH=/bin", "GREETING=hello you"], "Entrypoint": ["/bin/echo", "entry"], "Cmd": ["default"]},
        "rootfs": {"type": "layers", "diff_ids": [layer_digest]},
    });
    config["config"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let (config_digest, config) = described(sid, "config.json", &config);
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config_digest, "size": config.len()},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer_digest, "size": layer.len()}],
    });
    let (manifest_digest, manifest) = described(sid, "manifest.json", &manifest);
    let blob = |digest: &str| format!("/v2/busybox/blobs/{digest}");
    [
        ("/v2/".to_owned(), ("application/json".to_owned(), b"{}".to_vec())),
        ("/v2/busybox/manifests/1".to_owned(), (MANIFEST.to_owned(), manifest.clone())),
        (format!("/v2/busybox/manifests/{manifest_digest}"), (MANIFEST.to_owned(), manifest)),
        (blob(&config_digest), ("application/octet-stream".to_owned(), config)),
        (blob(&layer_digest), ("application/octet-stream".to_owned(), layer)),
    ]
    .into()
}

fn described(sid: &Sid, name: &str, value: &Value) -> (String, Vec<u8>) {
    let path = sid.file(name, &value.to_string());
    (digest(Path::new(&path)), fs::read(&path).unwrap())
}

fn digest(path: &Path) -> String {
    let output = Command::new("sha256sum").arg(path).output().unwrap().stdout;
    format!("sha256:{}", String::from_utf8(output).unwrap().split_whitespace().next().unwrap())
}

/// A SIF file of the same image, as `apptainer build` makes it of what a registry or `docker save` gives.
pub fn sif(sid: &Sid, more: &Value) -> String {
    let layout = sid.path("oci");
    fs::create_dir_all(layout.join("blobs/sha256")).unwrap();
    let mut manifest = Value::Null;
    for (path, (kind, bytes)) in image(sid, more) {
        if let Some((_, digest)) = path.split_once("sha256:") {
            fs::write(layout.join("blobs/sha256").join(digest), &bytes).unwrap();
            if kind == MANIFEST {
                manifest = json!({"mediaType": kind, "digest": format!("sha256:{digest}"), "size": bytes.len()});
            }
        }
    }
    fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion": "1.0.0"}"#).unwrap();
    fs::write(layout.join("index.json"), json!({"schemaVersion": 2, "manifests": [manifest]}).to_string()).unwrap();
    sid.build("of-oci.sif", &format!("oci:{}", layout.display()))
}

/// Answers for as long as the test process lives; counts the manifests that were asked for.
fn serve(served: Served) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, asked) = (listener.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)));
    let counter = Arc::clone(&asked);
    let served = Arc::new(served);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (served, counter) = (Arc::clone(&served), Arc::clone(&counter));
            std::thread::spawn(move || answer(&stream, &served, &counter));
        }
    });
    (port, asked)
}

/// One request for each connection.
fn answer(mut stream: &TcpStream, served: &Served, counter: &AtomicUsize) -> Option<()> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next()?.ok()?;
    while !lines.next()?.ok()?.is_empty() {}
    let mut words = first.split(' ');
    let (method, path) = (words.next()?, words.next()?);
    if path.ends_with("/manifests/1") {
        counter.fetch_add(1, Ordering::Relaxed);
    }
    let (head, body) = match served.get(path) {
        Some((kind, body)) => (format!("200 OK\r\nContent-Type: {kind}"), body.as_slice()),
        None => ("404 Not Found\r\nContent-Type: application/json".to_owned(), b"{}".as_slice()),
    };
    write!(stream, "HTTP/1.1 {head}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len()).ok()?;
    if method == "GET" {
        stream.write_all(body).ok()?;
    }
    Some(())
}

#[test]
fn an_image_of_a_registry_is_fetched_once_and_runs_its_entry_point() {
    let sid = Sid::new();
    let (port, asked) = serve(image(&sid, &json!({})));
    let image = format!("docker://127.0.0.1:{port}/busybox:1");
    let run = |fields: &[&str]| {
        let manifest = sid.file("fetched.yaml", &pod("fetched", &image, fields));
        let mut command = sid.outrigger(USER, &["run", &manifest]);
        let said = crate::sid::Said::of(command.env("APPTAINER_NOHTTPS", "1").output().unwrap());
        assert_eq!(said.code, 0, "{said:#?}");
        said.out
    };
    assert!(run(&[]).contains("entry default"));
    let fetched = asked.load(Ordering::Relaxed);
    assert!(fetched > 0);
    assert!(run(&["args: ['$GREETING']"]).contains("entry $GREETING"), "arguments are no shell text");
    let said = run(&["command: [sh, -c, 'echo $GREETING from $PATH']"]);
    assert!(said.contains("hello you from /bin"), "{said}");
    assert_eq!(asked.load(Ordering::Relaxed), fetched, "it is there now");
    run(&["imagePullPolicy: Always", "command: ['true']"]);
    assert!(asked.load(Ordering::Relaxed) > fetched);
}

#[test]
fn user_and_directory_of_a_fetched_image_hold_from_its_first_start() {
    let sid = Sid::new();
    let (port, _) = serve(image(&sid, &json!({"User": "4321", "WorkingDir": "/srv/work"})));
    let image = format!("docker://127.0.0.1:{port}/busybox:1");
    let said = "command: [sh, -c, 'echo $(id -u) $PWD > /dev/termination-log']";
    let manifest = sid.file("fetched.yaml", &pod("fetched", &image, &[said]));
    let mut command = sid.outrigger(USER, &["run", "--output", "json", &manifest]);
    let said = crate::sid::Said::of(command.env("APPTAINER_NOHTTPS", "1").output().unwrap());
    let status = &said.json()["status"]["containerStatuses"][0];
    assert_eq!(status["state"]["terminated"]["message"], "4321 /srv/work\n", "{said:#?}");
    assert!(status["imageID"].as_str().unwrap().starts_with("sif:"), "{said:#?}");
}
