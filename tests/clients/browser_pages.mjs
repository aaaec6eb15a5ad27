// What runs in the page: each library as its users load it, behind the same few calls.
const host = new URL(location.href).searchParams.get("gateway");

export async function segment() {
  const { AnalyticsBrowser } = await import("@segment/analytics-next");
  const batching = { strategy: "batching", config: { size: 5, timeout: 300 } };
  const analytics = AnalyticsBrowser.load({ writeKey: "web", cdnURL: host }, { integrations: { "Segment.io": { deliveryStrategy: batching } } });
  await analytics.ready();
  return {
    track: (name, properties) => void analytics.track(name, properties),
    identify: (id, traits) => void analytics.identify(id, traits),
  };
}

export async function rudderstack() {
  const { RudderAnalytics } = await import("@rudderstack/analytics-js/bundled");
  const analytics = new RudderAnalytics();
  const batch = { enabled: true, maxItems: 5, flushInterval: 300 };
  analytics.load("web", host, { configUrl: host, queueOptions: { batch } });
  await new Promise((ready) => analytics.ready(ready));
  return {
    track: (name, properties) => analytics.track(name, properties),
    identify: (id, traits) => analytics.identify(id, traits),
  };
}

export async function posthog() {
  const { default: client } = await import("posthog-js");
  const quiet = { autocapture: false, capture_pageview: false, capture_pageleave: false, disable_session_recording: true };
  // Unless told otherwise it keeps quiet in browsers that a program drives, and makes no profile of who is not known.
  const told = { opt_out_useragent_filter: true, person_profiles: "always" };
  await new Promise((loaded) => client.init("web", { api_host: host, ...quiet, ...told, loaded }));
  return {
    track: (name, properties) => client.capture(name, properties),
    identify: (id, traits) => client.identify(id, traits),
  };
}
