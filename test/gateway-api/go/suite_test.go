// The Gateway API's own conformance suite, as its project publishes it, with a client that speaks JSON.
package suite

import (
	"testing"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/gateway-api/conformance"
)

func TestConformance(t *testing.T) {
	options := conformance.DefaultOptions(t)
	options.RestConfig.ContentType = "application/json"
	options.RestConfig.AcceptContentTypes = "application/json"
	// The server is of this machine and in nobody's way.
	options.RestConfig.QPS = -1
	options.ClientOptions = client.Options{Scheme: options.Client.Scheme()}
	own, err := client.New(options.RestConfig, options.ClientOptions)
	require.NoError(t, err)
	options.Client = own
	conformance.RunConformanceWithOptions(t, options)
}
