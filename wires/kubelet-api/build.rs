//! Turns the `.proto` files into Rust, without `protoc`.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let files = ["proto/device_plugin.proto", "proto/pod_resources.proto"];
    for file in files {
        println!("cargo::rerun-if-changed={file}");
    }
    let parsed = protox::compile(files, ["proto"])?;
    tonic_prost_build::configure()
        .build_transport(false)
        .btree_map(".") // The same message is the same bytes.
        .extern_path(".v1beta1.ListAndWatchResponse", "crate::list::ListAndWatchResponse")
        .emit_rerun_if_changed(false)
        .compile_fds(parsed)?;
    Ok(())
}
