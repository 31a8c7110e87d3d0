//! Unary calls on templates.

use bravo_api::proto;
use bytes::Bytes;

use crate::client::Repeat;
use crate::{Client, Error};

impl Client {
    /// Makes a template, or its next version if the document is another one. Refused with
    /// `precondition_failed` if what is expected of the present one does not hold.
    pub async fn put_template(
        &self,
        name: &str,
        document: impl Into<Bytes>,
        expected: Option<proto::Precondition>,
    ) -> Result<proto::PutTemplateResponse, Error> {
        // Once done, a put under a condition would refuse its own repetition.
        let repeat = if expected.is_some() { Repeat::Unsent } else { Repeat::Always };
        let request = proto::PutTemplateRequest { name: name.into(), document: document.into(), expected };
        self.call(request, repeat, |link, request| async move { link.templates().put(request).await }).await
    }

    /// Reads one version of a template, the newest if none is named.
    pub async fn template(&self, name: &str, version: Option<u32>) -> Result<proto::Template, Error> {
        let request = proto::GetTemplateRequest { name: name.into(), version, read: None };
        self.call(request, Repeat::Always, |link, request| async move { link.templates().get(request).await }).await
    }

    /// Reads a page of templates, by name or as a search finds them.
    pub async fn templates(&self, list: proto::ListTemplatesRequest) -> Result<proto::ListTemplatesResponse, Error> {
        self.call(list, Repeat::Always, |link, request| async move { link.templates().list(request).await }).await
    }

    /// Deletes a template with all its versions.
    pub async fn delete_template(&self, name: &str, expected: Option<proto::Precondition>) -> Result<(), Error> {
        let request = proto::DeleteTemplateRequest { name: name.into(), expected };
        let send = |link: crate::net::Link, request| async move { link.templates().delete(request).await };
        self.call(request, Repeat::Unsent, send).await.map(drop)
    }

    /// Shows what a workflow from the template would be with an input (JSON text; empty: none).
    pub async fn preview_template(
        &self,
        name: &str,
        version: Option<u32>,
        input: impl Into<Bytes>,
    ) -> Result<proto::PreviewTemplateResponse, Error> {
        let request = proto::PreviewTemplateRequest { name: name.into(), version, input: input.into(), read: None };
        self.call(request, Repeat::Always, |link, request| async move { link.templates().preview(request).await }).await
    }
}
