#!/bin/sh
# Writes raftq.yaml anew from the chart, or with `-` prints it. Needs helm (3 or 4) on the PATH.
set -eu
cd "$(dirname "$0")"
rendered=$(helm template raftq ../helm/raftq --namespace raftq --skip-tests --set peers.secretName=raftq-peers)

render() {
    cat <<'HEAD'
# Made from the chart by deploy/manifests/render.sh; change deploy/helm/raftq instead. Install it with
#
#     kubectl create namespace raftq
#     kubectl --namespace raftq create secret generic raftq-peers --from-literal=secret="$(head -c 32 /dev/urandom | base64)"
#     kubectl apply --kustomize deploy/manifests
#
# and set image and namespace in kustomization.yaml, or in an overlay of your own.
HEAD
    # Whoever applies this is not Helm, and must not say so to a Helm that comes later.
    printf '%s\n' "$rendered" |
        sed -e '/^ *app\.kubernetes\.io\/managed-by: "Helm"$/d' -e '/^ *helm\.sh\/chart: /d' -e '/^# Source: /d'
}

if [ "${1:-}" = - ]; then
    render
else
    render > raftq.yaml
fi
