//! Answering what is wanted of the running pod.

use std::collections::BTreeMap;
use std::sync::Arc;

use outrigger_launcher::Outgoing;
use outrigger_pod_core::plan::ContainerName;
use outrigger_pod_directory::Ending;

use super::pod::Live;
use super::runner::Runner;
use super::stdin::Lent;
use crate::handle::{AttachSession, Request, RequestError};

impl Runner {
    /// Answers a request; what takes time is a task.
    pub(super) fn answer(&mut self, request: Request) {
        match request {
            Request::Stop { grace, reply } => {
                self.end(Ending::Stopped, grace);
                // Whoever asked may be gone.
                let _ = reply.send(());
            }
            Request::Exec { container, request, reply } => match self.running(&container) {
                Ok(live) => {
                    let (id, launcher) = (live.id.clone(), Arc::clone(&self.pod.launcher));
                    self.start(format!("exec in {container}"), async move {
                        let session = launcher.exec(&id, request).await;
                        let _ = reply.send(session.map_err(RequestError::from));
                    });
                }
                Err(refused) => drop(reply.send(Err(refused))),
            },
            Request::Attach { container, stdin, reply } => drop(reply.send(self.attach(&container, stdin))),
            Request::Usage { reply } => {
                let live: Vec<_> =
                    self.live.values().map(|live| (live.instance.container.clone(), live.id.clone())).collect();
                let launcher = Arc::clone(&self.pod.launcher);
                self.start("usage".to_owned(), async move {
                    let mut used = BTreeMap::new();
                    for (container, id) in live {
                        used.extend(launcher.usage(&id).await.ok().map(|usage| (container, usage)));
                    }
                    let _ = reply.send(used);
                });
            }
        }
    }

    fn attach(&mut self, container: &ContainerName, stdin: bool) -> Result<AttachSession, RequestError> {
        let output = self.pod.live.subscribe();
        let once = self.pod.plan.container(container).is_some_and(|container| container.stdin_once);
        let back = (!once).then(|| self.lent.clone());
        let live = self.running(container)?;
        let instance = live.instance.clone();
        let stdin = if stdin {
            let lent = live.stdin.take().ok_or_else(|| RequestError::NoStdin(container.clone()))?;
            Some(Box::new(Lent::new(instance.clone(), lent, back)) as Outgoing)
        } else {
            None
        };
        Ok(AttachSession { instance, stdin, terminal: live.terminal.clone(), output })
    }

    fn running(&mut self, container: &ContainerName) -> Result<&mut Live, RequestError> {
        if self.pod.plan.container(container).is_none() {
            return Err(RequestError::NoSuchContainer(container.clone()));
        }
        let live = self.live.values_mut().find(|live| live.instance.container == *container);
        live.ok_or_else(|| RequestError::NotRunning(container.clone()))
    }
}
