// panva's oidc-provider: a public client, whose refresh tokens it rotates by default, and JWTs for a
// resource server (RS256). It has no adapter of its own for production: this one keeps its models in
// DynamoDB, one item each, and answers its interface as its documentation describes it.
//
// PORT, DYNAMODB (address). POST /start begins a session with the library's own models.
import { AwsClient } from "aws4fetch"
import { generateKeyPairSync, randomUUID } from "node:crypto"
import { createServer } from "node:http"
import { Provider } from "oidc-provider"

const DAY = 86400
const RESOURCE = "https://api.test/"
const SCOPE = "offline_access read"
const aws = new AwsClient({
  accessKeyId: "local",
  secretAccessKey: "local",
  region: process.env.AWS_REGION,
  service: "dynamodb",
  retries: 0,
})

async function dynamodb(action, parameters) {
  const response = await aws.fetch(process.env.DYNAMODB, {
    method: "POST",
    headers: {
      "content-type": "application/x-amz-json-1.0",
      "x-amz-target": `DynamoDB_20120810.${action}`,
    },
    body: JSON.stringify({ TableName: "oidc-provider", ...parameters }),
  })
  if (!response.ok) throw new Error(await response.text())
  return response.json()
}

class Adapter {
  constructor(model) {
    this.model = model
  }

  key(id) {
    return { id: { S: `${this.model}:${id}` } }
  }

  async upsert(id, payload, expiresIn) {
    const item = { ...this.key(id), payload: { S: JSON.stringify(payload) } }
    if (payload.grantId) item.grant = { S: payload.grantId }
    if (expiresIn) item.expires_at = { N: String(Math.floor(Date.now() / 1000) + expiresIn) }
    await dynamodb("PutItem", { Item: item })
  }

  async find(id) {
    const { Item } = await dynamodb("GetItem", { Key: this.key(id), ConsistentRead: true })
    if (!Item) return undefined
    const payload = JSON.parse(Item.payload.S)
    return Item.consumed_at ? { ...payload, consumed: Number(Item.consumed_at.N) } : payload
  }

  async consume(id) {
    await dynamodb("UpdateItem", {
      Key: this.key(id),
      UpdateExpression: "SET consumed_at = :now",
      ExpressionAttributeValues: { ":now": { N: String(Math.floor(Date.now() / 1000)) } },
    })
  }

  async destroy(id) {
    await dynamodb("DeleteItem", { Key: this.key(id) })
  }

  async revokeByGrantId(grantId) {
    const { Items } = await dynamodb("Query", {
      IndexName: "grant",
      KeyConditionExpression: "#grant = :grant",
      ExpressionAttributeNames: { "#grant": "grant" },
      ExpressionAttributeValues: { ":grant": { S: grantId } },
    })
    for (const { id } of Items) await dynamodb("DeleteItem", { Key: { id } })
  }
}

const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 })
const provider = new Provider(`http://127.0.0.1:${process.env.PORT}`, {
  adapter: Adapter,
  clients: [
    {
      client_id: "app",
      token_endpoint_auth_method: "none",
      grant_types: ["authorization_code", "refresh_token"],
      redirect_uris: ["https://app.test/"],
    },
  ],
  jwks: { keys: [{ ...privateKey.export({ format: "jwk" }), alg: "RS256", use: "sig" }] },
  scopes: ["openid", "offline_access"],
  ttl: { RefreshToken: 14 * DAY, Grant: 14 * DAY },
  findAccount: async (_, id) => ({ accountId: id, claims: async () => ({ sub: id }) }),
  features: {
    devInteractions: { enabled: false },
    resourceIndicators: {
      enabled: true,
      useGrantedResource: async () => true,
      getResourceServerInfo: async () => ({
        scope: "read",
        accessTokenFormat: "jwt",
        accessTokenTTL: 3600,
        jwt: { sign: { alg: "RS256" } },
      }),
    },
  },
})

provider.on("server_error", (_, error) => console.error(error))

async function start() {
  const accountId = randomUUID()
  const grant = new provider.Grant({ accountId, clientId: "app" })
  grant.addOIDCScope("offline_access")
  grant.addResourceScope(RESOURCE, "read")
  const grantId = await grant.save(14 * DAY)
  const client = await provider.Client.find("app")
  const token = new provider.RefreshToken({
    accountId,
    client,
    grantId,
    gty: "authorization_code",
    resource: RESOURCE,
    scope: SCOPE,
  })
  return token.save()
}

const answer = provider.callback()
createServer(async (request, response) => {
  if (request.url !== "/start") return answer(request, response)
  const body = JSON.stringify({ refresh_token: await start() })
  response.setHeader("content-type", "application/json").end(body)
}).listen(Number(process.env.PORT), "127.0.0.1")
