// Runs the vendor's JavaScript client: reads who to be and what to do as JSON, and prints what the client returned.
import { text } from 'node:stream/consumers'
import { B24Hook, B24OAuth } from '@bitrix24/b24jssdk'

const { webhook, application, steps } = JSON.parse(await text(process.stdin))
const client = webhook ? B24Hook.fromWebhookUrl(webhook) : new B24OAuth(application.tokens, application.key)
const { call, batch, batchByChunk, callList, fetchList } = client.actions.v2
const refreshed = []
if (application) client.setCallbackRefreshAuth(async ({ authData }) => refreshed.push(authData))

const actions = {
  call: async (method, params) => (await call.make({ method, params })).getData().result,
  together: (...calls) => Promise.all(calls.map(([method, params]) => actions.call(method, params))),
  batch: async calls => described(await batch.make({ calls, options: { isHaltOnError: false } })),
  chunks: async calls => described(await batchByChunk.make({ calls, options: { isHaltOnError: false } })),
  list: async (method, params) => (await callList.make({ method, params })).getData(),
  pages: async (method, params, most) => {
    const found = []
    for await (const page of fetchList.make({ method, params })) if (found.push(page) === most) break
    return found
  }
}
const described = result => ({ success: result.isSuccess, data: result.getData(), errors: result.getErrorMessages() })

const results = []
for (const [action, ...given] of steps) {
  try {
    results.push(await actions[action](...given))
  } catch ({ code, message, status }) {
    results.push({ code, message, status })
  }
}
console.log(JSON.stringify({ results, refreshed }))
