//! The shape of a volume.

use super::super::shape::Kind::{Amount, Flag, List, Number32, Number64, Object, OneOf, Refused, Text};
use super::super::shape::{Field, Shape, shapes};
use super::container::{OBJECT_FIELD_SELECTOR, RESOURCE_FIELD_SELECTOR};
use super::pod::LABEL_SELECTOR;

const NEEDS_A_DRIVER: &str = "mount the storage on this machine and name the directory in a hostPath volume, or use a \
                              persistentVolumeClaim and give the directory that stands for it";

shapes! {
    VOLUME "Volume" {
        name required: Text, emptyDir: Object(&EMPTY_DIR), hostPath: Object(&HOST_PATH), configMap: Object(&CONFIG_MAP),
        secret: Object(&SECRET), downwardAPI: Object(&DOWNWARD_API), projected: Object(&PROJECTED),
        persistentVolumeClaim: Object(&PERSISTENT_VOLUME_CLAIM), ephemeral: Refused("use emptyDir"),
        image: Refused("unpack the image's files on this machine and name the directory in a hostPath volume"),
        gitRepo: Refused("clone the repository in an init container into an emptyDir volume"),
        awsElasticBlockStore: Refused(NEEDS_A_DRIVER), azureDisk: Refused(NEEDS_A_DRIVER),
        azureFile: Refused(NEEDS_A_DRIVER), cephfs: Refused(NEEDS_A_DRIVER), cinder: Refused(NEEDS_A_DRIVER),
        csi: Refused(NEEDS_A_DRIVER), fc: Refused(NEEDS_A_DRIVER), flexVolume: Refused(NEEDS_A_DRIVER),
        flocker: Refused(NEEDS_A_DRIVER), gcePersistentDisk: Refused(NEEDS_A_DRIVER), glusterfs: Refused(NEEDS_A_DRIVER),
        iscsi: Refused(NEEDS_A_DRIVER), nfs: Refused(NEEDS_A_DRIVER), photonPersistentDisk: Refused(NEEDS_A_DRIVER),
        portworxVolume: Refused(NEEDS_A_DRIVER), quobyte: Refused(NEEDS_A_DRIVER), rbd: Refused(NEEDS_A_DRIVER),
        scaleIO: Refused(NEEDS_A_DRIVER), storageos: Refused(NEEDS_A_DRIVER), vsphereVolume: Refused(NEEDS_A_DRIVER),
    }
    EMPTY_DIR "EmptyDirVolumeSource" { medium: Text, sizeLimit: Amount }
    HOST_PATH "HostPathVolumeSource" {
        path required: Text,
        type: OneOf(&["DirectoryOrCreate", "Directory", "FileOrCreate", "File", "Socket", "CharDevice", "BlockDevice"]),
    }
    PERSISTENT_VOLUME_CLAIM "PersistentVolumeClaimVolumeSource" { claimName required: Text, readOnly: Flag }
    CONFIG_MAP "ConfigMapVolumeSource" {
        name required: Text, optional: Flag, items: List(&Object(&KEY_TO_PATH)), defaultMode: Number32,
    }
    SECRET "SecretVolumeSource" {
        secretName required: Text, optional: Flag, items: List(&Object(&KEY_TO_PATH)), defaultMode: Number32,
    }
    KEY_TO_PATH "KeyToPath" { key required: Text, path required: Text, mode: Number32 }
    DOWNWARD_API "DownwardAPIVolumeSource" { items: List(&Object(&DOWNWARD_API_FILE)), defaultMode: Number32 }
    DOWNWARD_API_FILE "DownwardAPIVolumeFile" {
        path required: Text, fieldRef: Object(&OBJECT_FIELD_SELECTOR), resourceFieldRef: Object(&RESOURCE_FIELD_SELECTOR),
        mode: Number32,
    }
    PROJECTED "ProjectedVolumeSource" { sources: List(&Object(&PROJECTION)), defaultMode: Number32 }
    PROJECTION "VolumeProjection" {
        configMap: Object(&PROJECTED_KEYS), secret: Object(&PROJECTED_KEYS), downwardAPI: Object(&PROJECTED_DOWNWARD_API),
        serviceAccountToken: Object(&SERVICE_ACCOUNT_TOKEN), clusterTrustBundle: Object(&CLUSTER_TRUST_BUNDLE),
        podCertificate: Refused("put the certificate into a Secret and project that"),
    }
    PROJECTED_KEYS "ConfigMapProjection" { name required: Text, optional: Flag, items: List(&Object(&KEY_TO_PATH)) }
    PROJECTED_DOWNWARD_API "DownwardAPIProjection" { items: List(&Object(&DOWNWARD_API_FILE)) }
    SERVICE_ACCOUNT_TOKEN "ServiceAccountTokenProjection" { path required: Text, audience: Text, expirationSeconds: Number64 }
    CLUSTER_TRUST_BUNDLE "ClusterTrustBundleProjection" {
        path required: Text, name: Text, signerName: Text, labelSelector: Object(&LABEL_SELECTOR), optional: Flag,
    }
}
