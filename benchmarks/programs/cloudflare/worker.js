// The Worker that Cloudflare's local runtime is measured with. Workflows report over HTTP to the client that measures.
import { WorkflowEntrypoint } from "cloudflare:workers";

const RESULT = { orderId: "ord_12345", total: 129.95, currency: "EUR", items: 3, status: "charged" };
let ran = 0;

export class Flow extends WorkflowEntrypoint {
  async run(event, step) {
    const given = event.payload;
    const tell = async (what) => {
      await (await fetch(`http://127.0.0.1:${given.report}/${what}/${event.instanceId}/${ran}`)).text();
    };
    for (let n = 0; n < (given.steps ?? 0); n++) {
      await step.do(`step ${n}`, async () => {
        ran++;
        return given.kilobytes ? "x".repeat(1024 * given.kilobytes) : RESULT;
      });
    }
    for (let time = 0; time < (given.times ?? 0); time++) {
      const numbers = Array.from({ length: given.branches }, (_, branch) => branch);
      await Promise.all(numbers.map((branch) => step.do(`step ${time}/${branch}`, async () => { ran++; return RESULT; })));
    }
    if (given.event) {
      await tell("waits");
      await step.waitForEvent("approval", { type: "approval", timeout: "1 hour" });
      await step.do("note", async () => { await tell("noted"); });
    }
    if (given.seconds) {
      await tell("since");
      await step.sleep("nap", given.seconds * 1000);
    }
    await tell("ended");
  }
}

export default {
  async fetch(request, env) {
    if (request.method === "GET") return Response.json({ ready: true });
    const given = await request.json();
    if (given.approve) {
      await (await env.FLOW.get(given.approve)).sendEvent({ type: "approval", payload: {} });
      return Response.json({});
    }
    const instance = await env.FLOW.create({ id: given.id, params: given });
    return Response.json({ id: instance.id }, { status: 201 });
  },
};
