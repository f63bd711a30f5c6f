//! Images in folders of this machine: OCI image layouts, as `skopeo copy … oci:DIR:TAG`, `buildah`, `buildx --output type=oci`
//! and `crane pull --format=oci` write them (OCI image specification, "Image Layout").

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures_util::stream;
use tokio::io::AsyncReadExt as _;

use super::manifest::{DOCUMENT_BYTES_MAX, Index};
use super::name::digest_hex;
use super::{BlobStream, Fetched, ImageError, ImageName, ImageSource, Reference};
use crate::invoke::BoxFuture;

/// The annotation that names a manifest of a layout.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Bytes that are read at once.
const CHUNK: usize = 256 << 10;

/// Layouts below one folder: the image `HOST/NAME:TAG` is the manifest `TAG` of the layout in `FOLDER/NAME`, whatever the host.
#[derive(Clone, Debug)]
pub struct Layouts {
    folder: PathBuf,
}

impl Layouts {
    /// Those in `folder`, which the operator answers for: whoever may write there chooses what functions are made from.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// Names of repositories lead nowhere but down: see [`ImageName`].
    fn layout(&self, image: &ImageName) -> PathBuf {
        self.folder.join(&image.repository)
    }
}

impl ImageSource for Layouts {
    fn manifest(&self, image: ImageName) -> BoxFuture<Result<Fetched, ImageError>> {
        let layout = self.layout(&image);
        Box::pin(async move {
            let digest = match &image.reference {
                Reference::Digest(digest) => digest.clone(),
                Reference::Tag(tag) => tagged(&layout, tag).await?,
            };
            Ok(Fetched { media_type: None, bytes: read(&blob_path(&layout, &digest)).await? })
        })
    }

    fn blob(&self, image: ImageName, digest: String) -> BoxFuture<Result<BlobStream, ImageError>> {
        let path = blob_path(&self.layout(&image), &digest);
        Box::pin(async move {
            let file = tokio::fs::File::open(path).await.map_err(unread)?;
            let pieces = stream::try_unfold(file, |mut file| async move {
                let mut piece = bytes::BytesMut::with_capacity(CHUNK);
                let read = file.read_buf(&mut piece).await?;
                Ok::<_, io::Error>((read > 0).then(|| (piece.freeze(), file)))
            });
            Ok(Box::pin(pieces) as BlobStream)
        })
    }
}

fn blob_path(layout: &Path, digest: &str) -> PathBuf {
    layout.join("blobs/sha256").join(digest)
}

/// The digest of the manifest with this tag. One that is alone and has no tag is the latest.
async fn tagged(layout: &Path, tag: &str) -> Result<String, ImageError> {
    let index = Index::parse(&read(&layout.join("index.json")).await?)?;
    let named = index.manifests.iter().find(|one| one.annotations.get(REF_NAME).is_some_and(|name| name == tag));
    let only = match &index.manifests[..] {
        [only] if tag == "latest" && !only.annotations.contains_key(REF_NAME) => Some(only),
        _ => None,
    };
    let found = named.or(only).ok_or(ImageError::NotFound)?;
    digest_hex(&found.digest).map(str::to_owned).ok_or(ImageError::MediaType)
}

async fn read(path: &Path) -> Result<Bytes, ImageError> {
    let file = tokio::fs::File::open(path).await.map_err(unread)?;
    let mut bytes = Vec::new();
    file.take(DOCUMENT_BYTES_MAX + 1).read_to_end(&mut bytes).await.map_err(unread)?;
    match bytes.len() as u64 > DOCUMENT_BYTES_MAX {
        true => Err(ImageError::MediaType),
        false => Ok(bytes.into()),
    }
}

fn unread(error: io::Error) -> ImageError {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => ImageError::NotFound,
        io::ErrorKind::PermissionDenied => ImageError::Denied,
        _ => ImageError::Unavailable(error.to_string()),
    }
}
