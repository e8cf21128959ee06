//! The shape of a container.

use super::super::shape::Kind::{
    Amount, Flag, List, Map, Number32, Number64, NumberOrText, Object, OneOf, Refused, Text,
};
use super::super::shape::{Field, Shape, shapes};
use super::pod::{APP_ARMOR_PROFILE, NO_CLAIMS, NO_WINDOWS, SE_LINUX_OPTIONS, SECCOMP_PROFILE};

shapes! {
    CONTAINER "Container" {
        name required: Text, image: Text, imagePullPolicy: OneOf(&["Always", "IfNotPresent", "Never"]),
        command: List(&Text), args: List(&Text), workingDir: Text, ports: List(&Object(&CONTAINER_PORT)),
        env: List(&Object(&ENV_VAR)), envFrom: List(&Object(&ENV_FROM_SOURCE)),
        volumeMounts: List(&Object(&VOLUME_MOUNT)), resources: Object(&RESOURCE_REQUIREMENTS),
        resizePolicy: List(&Object(&CONTAINER_RESIZE_POLICY)), restartPolicy: OneOf(&["Always", "OnFailure", "Never"]),
        restartPolicyRules: List(&Object(&CONTAINER_RESTART_RULE)), startupProbe: Object(&PROBE),
        readinessProbe: Object(&PROBE), livenessProbe: Object(&PROBE), lifecycle: Object(&LIFECYCLE),
        securityContext: Object(&SECURITY_CONTEXT), stdin: Flag, stdinOnce: Flag, tty: Flag, terminationMessagePath: Text,
        terminationMessagePolicy: OneOf(&["File", "FallbackToLogsOnError"]),
        volumeDevices: Refused("mount the block device with a hostPath volume of type BlockDevice"),
    }
    CONTAINER_PORT "ContainerPort" {
        containerPort required: Number32, protocol: OneOf(&["TCP", "UDP", "SCTP"]), name: Text, hostPort: Number32,
        hostIP: Text,
    }
    CONTAINER_RESIZE_POLICY "ContainerResizePolicy" {
        resourceName required: OneOf(&["cpu", "memory"]), restartPolicy required: OneOf(&["NotRequired", "RestartContainer"]),
    }
    CONTAINER_RESTART_RULE "ContainerRestartRule" {
        action required: OneOf(&["Restart", "RestartAllContainers"]), exitCodes required: Object(&ON_EXIT_CODES),
    }
    ON_EXIT_CODES "ContainerRestartRuleOnExitCodes" { operator required: OneOf(&["In", "NotIn"]), values: List(&Number32) }
    RESOURCE_REQUIREMENTS "ResourceRequirements" {
        limits: Map(&Amount), requests: Map(&Amount), claims: Refused(NO_CLAIMS),
    }
    VOLUME_MOUNT "VolumeMount" {
        name required: Text, mountPath required: Text, readOnly: Flag, subPath: Text, subPathExpr: Text,
        recursiveReadOnly: OneOf(&["Disabled", "IfPossible", "Enabled"]),
        mountPropagation: OneOf(&["None", "HostToContainer", "Bidirectional"]),
    }
    SECURITY_CONTEXT "SecurityContext" {
        runAsUser: Number64, runAsGroup: Number64, runAsNonRoot: Flag, readOnlyRootFilesystem: Flag, privileged: Flag,
        allowPrivilegeEscalation: Flag, capabilities: Object(&CAPABILITIES), procMount: OneOf(&["Default", "Unmasked"]),
        seccompProfile: Object(&SECCOMP_PROFILE), appArmorProfile: Object(&APP_ARMOR_PROFILE),
        seLinuxOptions: Object(&SE_LINUX_OPTIONS), windowsOptions: Refused(NO_WINDOWS),
    }
    CAPABILITIES "Capabilities" { add: List(&Text), drop: List(&Text) }

    ENV_VAR "EnvVar" { name required: Text, value: Text, valueFrom: Object(&ENV_VAR_SOURCE) }
    ENV_VAR_SOURCE "EnvVarSource" {
        configMapKeyRef: Object(&KEY_SELECTOR), secretKeyRef: Object(&KEY_SELECTOR), fieldRef: Object(&OBJECT_FIELD_SELECTOR),
        resourceFieldRef: Object(&RESOURCE_FIELD_SELECTOR),
        fileKeyRef: Refused("let the command read the file, or put the value into a ConfigMap and use configMapKeyRef"),
    }
    KEY_SELECTOR "ConfigMapKeySelector" { name required: Text, key required: Text, optional: Flag }
    OBJECT_FIELD_SELECTOR "ObjectFieldSelector" { fieldPath required: Text, apiVersion: OneOf(&["v1"]) }
    RESOURCE_FIELD_SELECTOR "ResourceFieldSelector" { resource required: Text, containerName: Text, divisor: Amount }
    ENV_FROM_SOURCE "EnvFromSource" {
        configMapRef: Object(&ENV_SOURCE), secretRef: Object(&ENV_SOURCE), prefix: Text,
    }
    ENV_SOURCE "ConfigMapEnvSource" { name required: Text, optional: Flag }

    PROBE "Probe" {
        exec: Object(&EXEC_ACTION), httpGet: Object(&HTTP_GET_ACTION), tcpSocket: Object(&TCP_SOCKET_ACTION),
        grpc: Object(&GRPC_ACTION), initialDelaySeconds: Number32, periodSeconds: Number32, timeoutSeconds: Number32,
        successThreshold: Number32, failureThreshold: Number32, terminationGracePeriodSeconds: Number64,
    }
    LIFECYCLE "Lifecycle" {
        postStart: Object(&LIFECYCLE_HANDLER), preStop: Object(&LIFECYCLE_HANDLER), stopSignal: Text,
    }
    LIFECYCLE_HANDLER "LifecycleHandler" {
        exec: Object(&EXEC_ACTION), httpGet: Object(&HTTP_GET_ACTION), tcpSocket: Object(&TCP_SOCKET_ACTION),
        sleep: Object(&SLEEP_ACTION),
    }
    EXEC_ACTION "ExecAction" { command required: List(&Text) }
    HTTP_GET_ACTION "HTTPGetAction" {
        port required: NumberOrText, host: Text, path: Text, scheme: OneOf(&["HTTP", "HTTPS"]),
        httpHeaders: List(&Object(&HTTP_HEADER)),
    }
    HTTP_HEADER "HTTPHeader" { name required: Text, value: Text }
    TCP_SOCKET_ACTION "TCPSocketAction" { port required: NumberOrText, host: Text }
    GRPC_ACTION "GRPCAction" { port required: Number32, service: Text }
    SLEEP_ACTION "SleepAction" { seconds required: Number64 }
}
