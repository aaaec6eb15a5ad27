// The known workload, by the library named first, to the gateway at the address named second. Exit code 1: the library says that it failed.
import { createHash } from "node:crypto";

const [library, host] = process.argv.slice(2);
const users = 5, events = 120;
const start = Date.UTC(2026, 0, 2, 3, 4, 5, 678);
const problems = [];

// The same whenever it is asked for, in the form of a UUID.
function known(...parts) {
  const digest = createHash("sha256").update(JSON.stringify(parts)).digest("hex");
  return `${digest.slice(0, 8)}-${digest.slice(8, 12)}-4${digest.slice(13, 16)}-8${digest.slice(17, 20)}-${digest.slice(20, 32)}`;
}

const plan = (user) => ["free", "gold"][user % 2];
const properties = (number) => ({ price: number + 0.25, count: number, name: `Ünï ☕ ${number}`, odd: true });

async function segment() {
  const { Analytics } = await import("@segment/analytics-node");
  const client = new Analytics({ writeKey: "web", host, flushAt: 20, flushInterval: 50, maxRetries: 5 });
  client.on("error", (error) => problems.push(error));
  const at = new Date(start - 86_400_000);
  for (let user = 0; user < users; user++) {
    client.track({ anonymousId: `anon-${user}`, event: "Visited", timestamp: at, messageId: known("visit", user) });
    client.identify({ userId: `u-${user}`, traits: { plan: plan(user) }, timestamp: at, messageId: known("identify", user) });
    client.alias({ userId: `u-${user}`, previousId: `anon-${user}`, timestamp: at, messageId: known("alias", user) });
  }
  for (let number = 0; number < events; number++) {
    const message = { userId: `u-${number % users}`, event: "Bought", properties: properties(number) };
    client.track({ ...message, timestamp: new Date(start + number * 60_000), messageId: known("event", number) });
  }
  await client.closeAndFlush({ timeout: 60_000 });
}

async function rudderstack() {
  const { default: found } = await import("@rudderstack/rudder-sdk-node");
  const Analytics = found.default ?? found;
  const client = new Analytics("web", { dataPlaneUrl: host, flushAt: 20, flushInterval: 50, errorHandler: (error) => problems.push(error) });
  const at = new Date(start - 86_400_000);
  for (let user = 0; user < users; user++) {
    client.track({ anonymousId: `anon-${user}`, event: "Visited", timestamp: at, messageId: known("visit", user) });
    client.identify({ userId: `u-${user}`, traits: { plan: plan(user) }, timestamp: at, messageId: known("identify", user) });
    client.alias({ userId: `u-${user}`, previousId: `anon-${user}`, timestamp: at, messageId: known("alias", user) });
  }
  for (let number = 0; number < events; number++) {
    const message = { userId: `u-${number % users}`, event: "Bought", properties: properties(number) };
    client.track({ ...message, timestamp: new Date(start + number * 60_000), messageId: known("event", number) });
  }
  // It flushes a part of its queue at a time.
  for (let turn = 0; turn < 20; turn++) await client.flush();
}

async function posthog() {
  const { PostHog } = await import("posthog-node");
  const client = new PostHog("phc", { host, flushAt: 20, flushInterval: 50, fetchRetryDelay: 100 });
  client.on("error", (error) => problems.push(error));
  const at = new Date(start - 86_400_000);
  for (let user = 0; user < users; user++) {
    client.capture({ distinctId: `anon-${user}`, event: "Visited", timestamp: at, uuid: known("visit", user) });
    client.capture({ distinctId: `u-${user}`, event: "$identify", properties: { $set: { plan: plan(user) } }, timestamp: at, uuid: known("identify", user) });
    client.alias({ distinctId: `u-${user}`, alias: `anon-${user}` });
  }
  for (let number = 0; number < events; number++) {
    const message = { distinctId: `u-${number % users}`, event: "Bought", properties: properties(number) };
    client.capture({ ...message, timestamp: new Date(start + number * 60_000), uuid: known("event", number) });
  }
  await client.shutdown(60_000);
}

async function clevertap() {
  const { default: CleverTap } = await import("clevertap");
  const client = CleverTap.init("web", "passcode");
  client.api.apiEndpoint = `${host}/1`;
  const at = (start - 86_400_000) / 1000, records = [];
  for (let user = 0; user < users; user++) {
    records.push({ objectId: `anon-${user}`, type: "event", evtName: "Visited", evtData: {}, ts: Math.floor(at) });
    records.push({ identity: `u-${user}`, objectId: `anon-${user}`, type: "profile", profileData: { plan: plan(user) }, ts: Math.floor(at) });
  }
  for (let number = 0; number < events; number++) {
    const ts = Math.floor(start / 1000) + number * 60;
    records.push({ identity: `u-${number % users}`, type: "event", evtName: "Bought", evtData: properties(number), ts });
  }
  const answers = await client.upload(records);
  for (const answer of [answers].flat()) if (answer?.status !== "success") problems.push(answer);
}

await { segment, rudderstack, posthog, clevertap }[library]();
if (problems.length) {
  console.error(problems);
  process.exit(1);
}
