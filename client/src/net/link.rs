//! A connection to one node, with the caller's key on every call.

use std::sync::Arc;

use bravo_api::MESSAGE_BYTES_MAX;
use bravo_api::proto::cluster_client::ClusterClient;
use bravo_api::proto::events_client::EventsClient;
use bravo_api::proto::jobs_client::JobsClient;
use bravo_api::proto::queues_client::QueuesClient;
use bravo_api::proto::scaling_client::ScalingClient;
use bravo_api::proto::schedules_client::SchedulesClient;
use bravo_api::proto::templates_client::TemplatesClient;
use bravo_api::proto::webhooks_client::WebhooksClient;
use bravo_api::proto::workflows_client::WorkflowsClient;
use tonic::body::Body;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Status};
use tower::ServiceExt;

use crate::Error;

/// Puts the API key on a call.
#[derive(Clone, Default)]
pub(crate) struct Auth(Option<MetadataValue<Ascii>>);

impl Auth {
    pub(crate) fn new(key: Option<&str>) -> Result<Self, Error> {
        let value = |key: &str| {
            let mut value: MetadataValue<Ascii> = format!("Bearer {key}")
                .parse()
                .map_err(|_| Error::Invalid("the API key has characters that a header cannot carry".into()))?;
            value.set_sensitive(true);
            Ok::<_, Error>(value)
        };
        Ok(Self(key.map(value).transpose()?))
    }
}

impl Interceptor for Auth {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

type Service = InterceptedService<Channel, Auth>;

/// A connection to one node; cheap to clone.
#[derive(Clone)]
pub(crate) struct Link {
    /// Which node.
    pub(crate) url: Arc<str>,
    channel: Channel,
    auth: Auth,
}

impl Link {
    pub(crate) fn new(url: Arc<str>, channel: Channel, auth: Auth) -> Self {
        Self { url, channel, auth }
    }

    /// Sends a request to the REST interface, which lives behind the same port, and awaits the head of its answer.
    pub(crate) async fn send(&self, mut request: http::Request<Body>) -> Result<http::Response<Body>, String> {
        if let Some(key) = &self.auth.0 {
            let value = http::HeaderValue::from_bytes(key.as_encoded_bytes()).map_err(|error| error.to_string())?;
            request.headers_mut().insert(http::header::AUTHORIZATION, value);
        }
        let error = |error: tonic::transport::Error| super::cause(&error);
        self.channel.clone().oneshot(request).await.map_err(error)
    }

    fn service(&self) -> Service {
        InterceptedService::new(self.channel.clone(), self.auth.clone())
    }

    pub(crate) fn jobs(&self) -> JobsClient<Service> {
        JobsClient::new(self.service())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    pub(crate) fn queues(&self) -> QueuesClient<Service> {
        QueuesClient::new(self.service()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    pub(crate) fn templates(&self) -> TemplatesClient<Service> {
        TemplatesClient::new(self.service()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    pub(crate) fn scaling(&self) -> ScalingClient<Service> {
        ScalingClient::new(self.service()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    pub(crate) fn schedules(&self) -> SchedulesClient<Service> {
        SchedulesClient::new(self.service()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    pub(crate) fn workflows(&self) -> WorkflowsClient<Service> {
        WorkflowsClient::new(self.service())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    pub(crate) fn webhooks(&self) -> WebhooksClient<Service> {
        WebhooksClient::new(self.service()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    pub(crate) fn events(&self) -> EventsClient<Service> {
        EventsClient::new(self.service())
    }

    pub(crate) fn cluster(&self) -> ClusterClient<Service> {
        ClusterClient::new(self.service()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }
}
