//! One life of the kubelet's process: its listeners, its connections, its clients. All of them end at once when it is
//! killed, as the kernel would end them.

use std::fs;
use std::future::{Future, pending};
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixListener as StdListener;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use outrigger_kubelet_api::device_plugin::device_plugin_client::DevicePluginClient;
use outrigger_kubelet_api::device_plugin::registration_server::RegistrationServer;
use outrigger_kubelet_api::pod_resources::pod_resources_lister_server::PodResourcesListerServer;
use outrigger_kubelet_api::{Activity, Channel, KUBELET_SOCKET, serve_connection};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::{AbortHandle, JoinSet, yield_now};
use tokio::time::sleep;

use crate::checkpoint;
use crate::client;
use crate::front;
use crate::kubelet::Settings;
use crate::lister::Lister;
use crate::register::Registrar;
use crate::state::{Manager, State};

/// The tasks of a life. Dropping it is a kill -9.
#[derive(Debug)]
pub(crate) struct Run {
    tasks: Arc<Mutex<JoinSet<()>>>,
    pub(crate) life: Life,
}

/// What the tasks of a life share.
#[derive(Clone, Debug)]
pub(crate) struct Life {
    pub(crate) manager: Manager,
    pub(crate) settings: Arc<Settings>,
    tasks: Weak<Mutex<JoinSet<()>>>,
}

impl Run {
    /// `Start`: reads the checkpoint, makes the directory, wipes sockets, and serves.
    pub(crate) async fn start(settings: &Arc<Settings>) -> io::Result<Self> {
        let options = &settings.options;
        let mut state = State::default();
        checkpoint::read(&options.directory, &mut state);
        fs::create_dir_all(&options.directory)?;
        wipe(&options.directory)?;
        let tasks = Arc::default();
        settings.view.send_modify(|view| {
            view.running = true;
            view.resources.clear();
        });
        let manager = Manager::new(state, settings.view.clone(), options.overlap_bug);
        let life = Life { manager, settings: Arc::clone(settings), tasks: Arc::downgrade(&tasks) };
        if let Some(directory) = &options.pod_resources {
            fs::create_dir_all(directory)?;
            life.serve_pod_resources(listen_at(directory, Duration::ZERO).await?);
        }
        life.serve_registration(listen_at(&options.directory, options.listen_pause).await?);
        Ok(Self { tasks, life })
    }

    /// Replaces only `kubelet.sock`: what newer kubelets do when serving has failed.
    pub(crate) async fn replace_socket(&self) -> io::Result<()> {
        let options = &self.life.settings.options;
        self.life.serve_registration(listen_at(&options.directory, options.listen_pause).await?);
        Ok(())
    }
}

impl Run {
    /// A kill, and the kernel has ended everything when it returns: plugins see their streams end before the next life
    /// wipes their sockets.
    pub(crate) async fn end(self) {
        let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        tasks.shutdown().await;
        drop(self);
        for _ in 0..10 {
            yield_now().await; // The connections of the clients end on tasks of their own.
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
        self.life.settings.view.send_modify(|view| view.running = false);
    }
}

impl Life {
    /// Starts a task of this life.
    fn start(&self, task: impl Future<Output = ()> + Send + 'static) -> Option<AbortHandle> {
        let tasks = self.tasks.upgrade()?;
        let mut tasks = tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        Some(tasks.spawn(task))
    }

    /// Ends everything at once.
    pub(crate) fn die(&self) {
        if let Some(tasks) = self.tasks.upgrade() {
            tasks.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
        }
        self.settings.view.send_modify(|view| view.running = false);
    }

    fn serve_registration(&self, listener: UnixListener) {
        let life = self.clone();
        self.start(accept(listener, self.clone(), move |connection| {
            let service = RegistrationServer::new(Registrar(life.clone()));
            async move { drop(serve_connection(connection, service, Activity::default(), pending()).await) }
        }));
    }

    fn serve_pod_resources(&self, listener: UnixListener) {
        let life = self.clone();
        self.start(accept(listener, self.clone(), move |connection| {
            let service = PodResourcesListerServer::new(Lister(life.clone()));
            async move { drop(serve_connection(connection, service, Activity::default(), pending()).await) }
        }));
    }

    /// `runClient`: reads a plugin's list, on a task of its own.
    pub(crate) fn read(&self, number: u64, resource: String, plugin: DevicePluginClient<Channel>) {
        let life = self.clone();
        let task = async move {
            let listed = || life.write_checkpoint();
            let reading = life.settings.reading.subscribe();
            let why = client::read(plugin, &resource, &life.manager, reading, listed).await;
            life.manager.stream_ended(number, &resource, why);
        };
        if let Some(task) = self.start(task) {
            self.manager.reading(number, task);
        }
    }

    /// Writes the checkpoint; a kubelet goes on where it cannot, and so do we.
    pub(crate) fn write_checkpoint(&self) {
        let state = self.manager.lock();
        drop(checkpoint::write(&self.settings.options.directory, &state));
    }
}

/// Answers every connection on a task of its own.
async fn accept<F>(listener: UnixListener, life: Life, answer: impl Fn(UnixStream) -> F + Clone + Send + 'static)
where
    F: Future<Output = ()> + Send + 'static,
{
    while let Ok((connection, _)) = listener.accept().await {
        life.start(front::let_in(connection, answer.clone()));
    }
}

/// `CleanupPluginDirectory`: removes sockets; files and directories stay.
fn wipe(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_socket() {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Binds and, after the pause, listens: between the two a connect is refused.
async fn listen_at(directory: &Path, pause: Duration) -> io::Result<UnixListener> {
    let path = directory.join(KUBELET_SOCKET);
    if fs::symlink_metadata(&path).is_ok() {
        fs::remove_file(&path)?;
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    bind(&socket, &SocketAddrUnix::new(&path)?)?;
    if !pause.is_zero() {
        sleep(pause).await;
    }
    listen(&socket, 128)?;
    UnixListener::from_std(StdListener::from(socket))
}
