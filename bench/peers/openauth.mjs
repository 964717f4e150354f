// SST OpenAuth as its documentation has it: `issuer` with its own DynamoDB storage.
//
// PORT, DYNAMODB (address), GRACE_SECONDS (`ttl.reuse`, 60 by default). POST /start begins a session
// by the grant client_credentials, which hands out a refresh token, too.
import { serve } from "@hono/node-server"
import { issuer } from "@openauthjs/openauth"
import { createSubjects } from "@openauthjs/openauth/subject"
import { DynamoStorage } from "@openauthjs/openauth/storage/dynamo"
import { randomUUID } from "node:crypto"

// It logs every request to standard output, as Ratchet does.
const storage = DynamoStorage({ table: "openauth", endpoint: process.env.DYNAMODB })
const anything = {
  "~standard": { version: 1, vendor: "bench", validate: (value) => ({ value }) },
}
const app = issuer({
  subjects: createSubjects({ user: anything }),
  storage,
  ttl: { access: 3600, reuse: Number(process.env.GRACE_SECONDS) },
  providers: {
    bench: { type: "bench", init() {}, client: async () => ({ id: randomUUID() }) },
  },
  success: async (ctx, value) => ctx.subject("user", { id: value.id }),
})
app.post("/start", () =>
  app.request("/token", {
    method: "POST",
    body: new URLSearchParams({
      grant_type: "client_credentials",
      provider: "bench",
      client_id: "app",
      client_secret: "none",
    }),
  }),
)
serve({ fetch: app.fetch, hostname: "127.0.0.1", port: Number(process.env.PORT) })
