//! The pod level: what its containers share, made once and held as descriptors.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use outrigger_launcher::{LaunchError, MemoryVolume, PodRequest, PreparedPod};
use outrigger_pod_core::life::PodAddresses;
use outrigger_pod_core::plan::PodPlan;

use super::driver::{Driver, Launch, Launched, Link};
use super::{machine, name_files, security, spec};
use crate::agent::wire::{Abilities, HoldTask, Join, PodTask, Task};

/// A prepared pod.
#[derive(Debug)]
pub struct Pod {
    /// The pod's directory.
    pub directory: PathBuf,
    /// The host name inside.
    pub hostname: String,
    /// What the machine allows this pod: less than to others with `hostPID` and `hostIPC`.
    pub abilities: Abilities,
    /// What the caller was answered.
    pub prepared: PreparedPod,
    /// What its containers join.
    pub(super) namespaces: Namespaces,
}

/// The namespaces that the containers of a pod share, and the roots of its memory volumes.
#[derive(Debug, Default)]
pub(super) struct Namespaces {
    /// Where the caller is not root.
    pub user: Option<Arc<OwnedFd>>,
    /// With the memory volumes; every container works in a clone.
    pub mount: Option<Arc<OwnedFd>>,
    /// With a `/dev/shm` of its own.
    pub ipc: Option<Arc<OwnedFd>>,
    /// With `shareProcessNamespace`.
    pub process: Option<Arc<OwnedFd>>,
    /// The init of the shared process namespace, which ends with this.
    holder: Option<Link>,
    memory_volumes: Vec<(String, OwnedFd)>,
}

impl Pod {
    /// Makes everything that the pod's containers share.
    pub(super) async fn prepare(
        driver: &Driver,
        abilities: &Abilities,
        request: PodRequest,
    ) -> Result<Self, LaunchError> {
        let abilities = allowed(abilities, &request.plan);
        let addresses = addresses(request.pod_ip);
        write_name_files(&request, &addresses)?;
        let namespaces = Namespaces::make(driver, &abilities, &request).await?;
        let path = |root: &OwnedFd| PathBuf::from(format!("/proc/self/fd/{}", root.as_raw_fd()));
        let volumes = namespaces.memory_volumes.iter();
        let memory_volumes: BTreeMap<_, _> = volumes.map(|(name, root)| (name.clone(), path(root))).collect();
        let prepared = PreparedPod { addresses, memory_volumes };
        let PodRequest { directory, hostname, .. } = request;
        Ok(Self { directory, hostname, abilities, prepared, namespaces })
    }

    /// The launcher's own files.
    pub fn files(&self) -> PathBuf {
        files(&self.directory)
    }

    /// Whether its containers are in one process namespace, which is made already.
    pub fn shares_processes(&self) -> bool {
        self.namespaces.process.is_some()
    }

    /// An empty directory in which a container's new root can be put together.
    pub fn staging(&self) -> PathBuf {
        staging(&self.directory)
    }

    /// Lets go of the namespaces, which ends them, and removes the launcher's files.
    pub(super) fn remove(self: Arc<Self>) -> Result<(), LaunchError> {
        let directory = self.files();
        drop(self);
        match fs::remove_dir_all(&directory) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(LaunchError::Machine { what: format!("cannot remove {}", directory.display()), source })
            }
            _ => Ok(()),
        }
    }
}

/// What the machine allows a pod that wants some of the machine's own namespaces.
fn allowed(abilities: &Abilities, plan: &PodPlan) -> Abilities {
    let spec = plan.pod.spec.as_ref();
    let (host_pid, host_ipc) =
        (spec.and_then(|spec| spec.host_pid) == Some(true), spec.and_then(|spec| spec.host_ipc) == Some(true));
    Abilities {
        process_namespace: abilities.process_namespace && !host_pid,
        fresh_proc: abilities.fresh_proc && !host_pid,
        ipc_namespace: abilities.ipc_namespace && !host_ipc,
        ..abilities.clone()
    }
}

impl Namespaces {
    async fn make(driver: &Driver, abilities: &Abilities, request: &PodRequest) -> Result<Self, LaunchError> {
        if !abilities.mount_namespace {
            return Ok(Self::default());
        }
        let staging = staging(&request.directory);
        make_directory(&staging)?;
        let is_any = security::rights(abilities) == security::Rights::Any;
        let task = PodTask {
            user_namespace: abilities.user_namespace,
            ipc_namespace: abilities.ipc_namespace,
            memory_volumes: memory_directories(request)?,
            memory_group: request.plan.fs_group.filter(|_| is_any).and_then(|gid| u32::try_from(gid).ok()),
            staging: staging.display().to_string(),
            placeholders: placeholders(&request.plan),
        };
        let launched = driver.launch(Launch::new(Task::Pod(task), Vec::new())).await.map_err(machine)?;
        let mut namespaces = Self::sorted(abilities, launched, &request.memory_volumes);
        if request.plan.share_process_namespace && abilities.process_namespace {
            namespaces.hold_processes(driver).await?;
        }
        Ok(namespaces)
    }

    fn sorted(abilities: &Abilities, launched: Launched, volumes: &[MemoryVolume]) -> Self {
        let mut descriptors = launched.descriptors.into_iter();
        let mut next = |wanted: bool| if wanted { descriptors.next().map(Arc::new) } else { None };
        let (user, mount) = (next(abilities.user_namespace), next(true));
        let ipc = next(abilities.ipc_namespace);
        let memory_volumes = volumes.iter().map(|volume| volume.name.clone()).zip(descriptors).collect();
        Self { user, mount, ipc, memory_volumes, ..Self::default() }
    }

    async fn hold_processes(&mut self, driver: &Driver) -> Result<(), LaunchError> {
        let mut descriptors = Vec::new();
        let join = Join { user: spec::slot(&mut descriptors, self.user.as_ref()), ..Join::default() };
        let launched = driver.launch(Launch::new(Task::Hold(HoldTask { join }), descriptors)).await.map_err(machine)?;
        self.process = launched.descriptors.into_iter().next().map(Arc::new);
        self.holder = launched.link;
        Ok(())
    }
}

fn addresses(pod_ip: Option<IpAddr>) -> PodAddresses {
    let mut host = outrigger_host::default_addresses();
    if host.is_empty() {
        host.push(Ipv4Addr::LOCALHOST.into());
    }
    PodAddresses { pod: pod_ip.map_or_else(|| host.clone(), |ip| vec![ip]), host }
}

/// Makes the directories over which memory volumes are mounted; answers them with the volumes' limits.
fn memory_directories(request: &PodRequest) -> Result<Vec<(String, Option<u64>)>, LaunchError> {
    let mut directories = Vec::new();
    for volume in &request.memory_volumes {
        let directory = memory_directory(&request.directory, &volume.name);
        make_directory(&directory)?;
        directories.push((directory.display().to_string(), volume.size_limit));
    }
    Ok(directories)
}

/// Where a memory volume lies in the pod's mount namespace.
pub fn memory_directory(pod: &Path, volume: &str) -> PathBuf {
    files(pod).join("memory").join(volume)
}

fn files(pod: &Path) -> PathBuf {
    pod.join("launcher")
}

fn staging(pod: &Path) -> PathBuf {
    files(pod).join("root")
}

fn make_directory(directory: &Path) -> Result<(), LaunchError> {
    fs::create_dir_all(directory)
        .map_err(|source| LaunchError::Machine { what: format!("cannot make {}", directory.display()), source })
}

/// Files that containers will have something bound over. Where one is missing (`/dev/termination-log` usually), its
/// directory is covered once for the pod rather than for each container.
fn placeholders(plan: &PodPlan) -> Vec<String> {
    let mut paths: Vec<String> = plan.containers.iter().map(|container| container.message_path.clone()).collect();
    paths.sort_unstable();
    paths.dedup();
    // Elsewhere a mount of the container may lie over it.
    paths.retain(|path| path.starts_with("/dev/"));
    paths
}

/// Writes the pod's `/etc/hosts`, and its `/etc/resolv.conf` where it differs from the machine's.
fn write_name_files(request: &PodRequest, addresses: &PodAddresses) -> Result<(), LaunchError> {
    let directory = files(&request.directory);
    make_directory(&directory)?;
    let Some(spec) = &request.plan.pod.spec else { return Ok(()) };
    // A machine without these files has nothing to add to them.
    let machine = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let hosts = name_files::hosts(spec, &request.hostname, &addresses.pod, &machine("/etc/hosts"));
    let mut texts = vec![("hosts", hosts)];
    texts.extend(name_files::resolv_conf(spec, &machine("/etc/resolv.conf")).map(|text| ("resolv.conf", text)));
    for (name, text) in texts {
        let path = directory.join(name);
        fs::write(&path, text)
            .map_err(|source| LaunchError::Machine { what: format!("cannot write {}", path.display()), source })?;
    }
    Ok(())
}
