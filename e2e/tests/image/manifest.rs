//! What a `DaemonSet` asks of a container runtime, as the flags of one: no more than its own container says.

use std::path::Path;

use serde_json::Value;

/// The container of a manifest below `deploy`.
pub struct Container(Value);

impl Container {
    /// Reads it.
    pub fn of(name: &str) -> Self {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(name);
        let documents = outrigger_config::read(name, &std::fs::read(&file).unwrap()).unwrap();
        Self(documents[0].value()["spec"]["template"]["spec"].clone())
    }

    /// Its image line.
    pub fn image(&self) -> &str {
        self.main()["image"].as_str().unwrap()
    }

    /// Its arguments. It names no command: what runs is the image's.
    pub fn args(&self) -> Vec<String> {
        assert!(self.main().get("command").is_none());
        self.main()["args"].as_array().unwrap().iter().map(|arg| arg.as_str().unwrap().to_owned()).collect()
    }

    /// The flags of a runtime for its rights and mounts; the kubelet's own directory is another.
    pub fn flags(&self, kubelet: &Path) -> Vec<String> {
        let security = &self.main()["securityContext"];
        let mut flags = Vec::new();
        if security["privileged"] == true {
            flags.push("--privileged".to_owned());
        }
        if security["allowPrivilegeEscalation"] == false {
            flags.push("--security-opt=no-new-privileges".to_owned());
        }
        for capability in security["capabilities"]["drop"].as_array().into_iter().flatten() {
            flags.push(format!("--cap-drop={}", capability.as_str().unwrap()));
        }
        for mount in self.main()["volumeMounts"].as_array().unwrap() {
            let is_it = |volume: &&Value| volume["name"] == mount["name"];
            let volume = self.0["volumes"].as_array().unwrap().iter().find(is_it).unwrap();
            let host = volume["hostPath"]["path"].as_str().unwrap();
            let host = host
                .strip_prefix("/var/lib/kubelet")
                .map_or(host.to_owned(), |below| format!("{}{below}", kubelet.display()));
            flags.push(format!("--volume={host}:{}", mount["mountPath"].as_str().unwrap()));
        }
        flags
    }

    fn main(&self) -> &Value {
        let containers = self.0["containers"].as_array().unwrap();
        assert_eq!(containers.len(), 1);
        &containers[0]
    }
}
