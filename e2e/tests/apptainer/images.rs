//! Images: their entry point, their files, and those that cannot be had.

use crate::pod;
use crate::sid::{Sid, USER};

#[test]
fn without_a_command_the_image_decides() {
    let sid = Sid::new();
    for image in [sid.tree(), sid.sif()] {
        let manifest = sid.file("entry.yaml", &pod("entry", &image, &["args: [one, '$HOME two']"]));
        let said = sid.run(USER, &["run", &manifest]);
        assert_eq!(said.code, 0, "{said:#?}");
        assert!(said.out.contains("entry point: one $HOME two"), "{said:#?}");
    }
}

#[test]
fn the_root_is_writable_unless_the_manifest_says_otherwise() {
    let sid = Sid::new();
    let writes = "command: [sh, -c, 'touch /here && ! touch /out/here']";
    let manifest =
        pod("writes", &sid.tree(), &[writes, "volumeMounts: [{name: out, mountPath: /out, readOnly: true}]"]);
    let volume =
        format!("  volumes: [{{name: out, hostPath: {{path: \"{}\"}}}}]\n", sid.open_folder("a, b:c").display());
    let said = sid.run(USER, &["run", &sid.file("writes.yaml", &(manifest + &volume))]);
    assert_eq!(said.code, 0, "{said:#?}");
    let refuses = "command: [sh, -c, '! touch /here && echo x > /dev/termination-log']";
    let read_only = "securityContext: {readOnlyRootFilesystem: true}";
    let manifest = sid.file("reads.yaml", &pod("reads", &sid.tree(), &[refuses, read_only]));
    let said = sid.run(USER, &["run", "--output", "json", &manifest]);
    assert_eq!(said.code, 0, "{said:#?}");
    let status = &said.json()["status"]["containerStatuses"][0]["state"]["terminated"];
    assert_eq!(status["message"], "x\n", "{said:#?}");
}

#[test]
fn an_image_that_cannot_be_had_has_a_reason() {
    let sid = Sid::new();
    for (image, policy, reason, word) in [
        ("/no/such.sif", "IfNotPresent", "ErrImagePull", "/no/such.sif"),
        ("docker://localhost:1/none:1", "IfNotPresent", "ErrImagePull", "refused"),
        ("docker://localhost:1/none:1", "Never", "ErrImageNeverPull", "pull policy of Never"),
        ("docker://Upper", "IfNotPresent", "InvalidImageName", "invalid reference format"),
    ] {
        let fields = ["command: ['true']", &format!("imagePullPolicy: {policy}")];
        let manifest = sid.file("absent.yaml", &pod("absent", &format!("\"{image}\""), &fields));
        let run = |limit: &str| {
            let said = sid.run(USER, &["run", "--timeout", limit, "--output", "json", &manifest]);
            assert_eq!(said.code, 124, "{said:#?}");
            let is_told = |text: &str| said.err.contains(text) || said.out.contains(text);
            (is_told(reason) && is_told(word), said)
        };
        // A busy machine may need longer until the image was asked for.
        let (is_told, said) =
            ["2s", "15s"].map(run).into_iter().find(|(is_told, _)| *is_told).unwrap_or_else(|| run("60s"));
        assert!(is_told, "{image}: {said:#?}");
    }
}
